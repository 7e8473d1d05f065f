/**
 * A frame with axes around lines and areas, as SVG that fits any width.
 *
 * Places are shares of the frame, so text and points keep their size on a phone and on paper; lines and areas alone are stretched, with
 * strokes that stay as thin as they are.
 */
import { html, type Markup } from './markup.ts';

export interface Axis {
  readonly label: string;
  /** From a value to a share of the frame, 0 at the left or at the bottom. */
  readonly place: (value: number) => number;
  readonly ticks: readonly { readonly at: number; readonly label: string }[];
}

export interface Plot {
  /** Of the page; unique. */
  readonly id: string;
  readonly title: string;
  /** What is to be seen, in a sentence. */
  readonly description: string;
  /** Pixels between the axes. */
  readonly height: number;
  readonly x: Axis;
  readonly y: Axis;
  /** Paths in a square of `SIDE`, y downwards. */
  readonly paths: Markup;
  /** What is not stretched, placed by percentages. */
  readonly points?: Markup;
}

/** The side of the square in which paths are drawn. */
export const SIDE = 1000;

/** A share from below as one from above, in percent. */
export const fromTop = (share: number): string => percentage(1 - share);

/** @example percentage(0.12345); // => '12.35%' */
export const percentage = (share: number): string => `${Number((100 * share).toFixed(2))}%`;

export const plot = ({ id, title, description, height, x, y, paths, points }: Plot): Markup => html`<div class="plot">
<svg role="img" aria-labelledby="${id}-title ${id}-text" width="100%" height="${height}">
<title id="${id}-title">${title}</title><desc id="${id}-text">${description}</desc>
<g class="grid">${y.ticks.map(({ at }) => html`<line x1="0" x2="100%" y1="${fromTop(y.place(at))}" y2="${fromTop(y.place(at))}"/>`)}</g>
<svg viewBox="0 0 ${SIDE} ${SIDE}" preserveAspectRatio="none" width="100%" height="100%">${paths}</svg>
${points}
<g class="ticks">${y.ticks.map(
  ({ at, label }) => html`<text x="-8" y="${fromTop(y.place(at))}" dy=".32em" text-anchor="end">${label}</text>`,
)}${x.ticks.map(
  ({ at, label }) =>
    html`<text x="${percentage(x.place(at))}" y="100%" dy="1.4em" text-anchor="middle">${label}</text>`,
)}<text x="100%" y="100%" dy="2.7em" text-anchor="end">${x.label}</text><text x="-8" y="0" dy="-1em">${y.label}</text></g>
</svg></div>`;
