/** Bars that stand beside the numbers that they show: decoration to those who hear the page. */
import { html, type Markup } from './markup.ts';
import { percentage } from './plot.ts';

/** A number with its share of the largest. */
export const barred = (text: string, share: number): Markup =>
  html`<span class="barred"><svg aria-hidden="true" width="100%" height="8"><rect class="bar" width="${percentage(Math.min(Math.max(share, 0), 1))}" height="8"/></svg><span>${text}</span></span>`;

export interface Part {
  /** Its class: `w8`. */
  readonly kind: string;
  readonly share: number;
  readonly label: string;
}

/** Parts of a whole, one behind the other, and what they are below. */
export function stackedBar(name: string, parts: readonly Part[]): Markup {
  let start = 0;
  const rects = parts.map(({ kind, share }) => {
    const x = start;
    start += share;
    return html`<rect class="${kind}" x="${percentage(x)}" width="${percentage(share)}" height="14"/>`;
  });
  return html`<div class="stack"><p class="stack-name">${name}</p><svg aria-hidden="true" width="100%" height="14">${rects}</svg>
<p class="parts">${parts.map(({ kind, label }) => html`<span><svg aria-hidden="true" width="10" height="10"><rect class="${kind}" width="10" height="10"/></svg> ${label}</span> `)}</p></div>`;
}
