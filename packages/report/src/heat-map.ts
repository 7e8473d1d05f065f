/**
 * Numbers of sites and layers as a heat map: a row for each site, one strip of cells. Each row says its extremes in words to those who do
 * not see it, each cell its number to the pointer, and a table has them all.
 */
import { scaleThreshold } from 'd3-scale';
import { behind, dataTable } from './data-table.ts';
import { html, type Markup } from './markup.ts';
import { percentage } from './plot.ts';
import type { SiteValues } from './report-data.ts';

export interface HeatMap {
  /** Of the page; unique. */
  readonly id: string;
  readonly caption: string;
  readonly rows: readonly SiteValues[];
  /** Ascending limits between the colours: 7. */
  readonly limits: readonly number[];
  /** Whether the largest numbers are the costly ones, or the smallest. */
  readonly costly: 'largest' | 'smallest';
  readonly unit: string;
  readonly text: (value: number) => string;
  /** A limit; by default as a value. */
  readonly limit?: (value: number) => string;
  /** What stands for no number. */
  readonly none: string;
}

const TICK_STEPS = [1, 2, 5, 10, 20];

export function heatMap({ id, caption, rows, limits, costly, unit, text, limit = text, none }: HeatMap): Markup {
  if (rows.length === 0) return html``;
  const colours = limits.map((_, i) => i).concat(limits.length);
  const scale = scaleThreshold<number, number>()
    .domain(limits)
    .range(costly === 'largest' ? colours : colours.toReversed());
  const layers = Math.max(...rows.map((row) => row.layers.length));
  const step = TICK_STEPS.find((size) => layers / size <= 8) ?? 50;
  const ticks = Array.from({ length: Math.ceil(layers / step) }, (_, i) => i * step);
  const cell = (value: number | null, layer: number): Markup | undefined =>
    value === null
      ? undefined
      : html`<rect class="h${scale(value)}" x="${layer}" width="1" height="1"><title>layer ${layer}: ${text(value)} ${unit}</title></rect>`;
  return html`<figure aria-labelledby="${id}">
<figcaption id="${id}">${caption}</figcaption>
${legend(limits, scale, limit, unit)}
<div class="heat">${rows.map(
    (
      row,
    ) => html`<span class="site">${row.site}</span><svg role="img" aria-label="${inWords(row, costly, text, unit, none)}" viewBox="0 0 ${layers} 1" preserveAspectRatio="none">${row.layers.map(cell)}</svg>
`,
  )}<span class="axis-name" aria-hidden="true">layer</span><svg class="axis" aria-hidden="true">${ticks.map(
    (layer) => html`<text x="${percentage((layer + 0.5) / layers)}" y="1em" text-anchor="middle">${layer}</text>`,
  )}</svg></div>
${behind(
  'The numbers as a table',
  dataTable({
    id: `${id}-table`,
    caption: `${caption} In ${unit}.`,
    corner: 'Site',
    columns: Array.from({ length: layers }, (_, layer) => `${layer}`),
    rows: rows.map((row) => ({
      name: row.site,
      cells: row.layers.map((value) => (value === null ? none : text(value))),
    })),
  }),
)}
</figure>`;
}

function legend(
  limits: readonly number[],
  scale: (value: number) => number,
  text: (value: number) => string,
  unit: string,
): Markup {
  const classes = [
    { colour: scale(Number.NEGATIVE_INFINITY), label: `< ${text(limits[0] as number)}` },
    ...limits.map((limit) => ({ colour: scale(limit), label: `≥ ${text(limit)}` })),
  ];
  return html`<ul class="legend steps" aria-label="Colours, in ${unit}">${classes.map(
    ({ colour, label }) =>
      html`<li><svg aria-hidden="true" width="100%" height="10"><rect class="h${colour}" width="100%" height="10"/></svg>${label}</li>`,
  )}<li class="unit">${unit}</li></ul>`;
}

/** The extremes of a row. */
function inWords(
  { layers }: SiteValues,
  costly: HeatMap['costly'],
  text: (value: number) => string,
  unit: string,
  none: string,
): string {
  const known = layers.flatMap((value, layer) => (value === null ? [] : [{ value, layer }]));
  const sorted = known.toSorted((a, b) => (costly === 'largest' ? b.value - a.value : a.value - b.value));
  const [worst, best] = [sorted[0], sorted.at(-1)];
  if (!worst || !best) return `${none} in every layer`;
  return `${text(worst.value)} ${unit} in layer ${worst.layer} to ${text(best.value)} ${unit} in layer ${best.layer}`;
}
