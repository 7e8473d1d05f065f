/** What the rounding of sites does to the logits: alone, and in the model where all others are rounded. */
import { barred } from './bar.ts';
import { dataTable } from './data-table.ts';
import { heatMap } from './heat-map.ts';
import { html, type Markup } from './markup.ts';
import { fixed, shortNumber } from './numbers.ts';
import type { Divergences, SiteValues } from './report-data.ts';
import type { Section } from './section.ts';

/** The costliest kind of site first. */
export function sensitivity({ whole, kinds, sites }: Divergences): Section {
  const sorted = [...kinds].sort((a, b) => b.alone - a.alone);
  const gain = (spared: number): number => whole - spared;
  const most = Math.max(...kinds.map(({ alone, spared }) => Math.max(alone, gain(spared))), Number.MIN_VALUE);
  const digits = Math.min(Math.max(2 - Math.floor(Math.log10(1000 * most)), 0), 6) + 1; // the largest with four
  const bar = (value: number): Markup => barred(fixed(1000 * value, digits), value / most);
  const content = html`<p>The divergence of the next token’s distribution from the float model’s, in thousandths of a nat. All rounded together: <strong>${shortNumber(1000 * whole)}</strong>. The float model is that of the same directory: weights that were rounded before cost nothing here, and are not among the single sites.</p>
${dataTable({
  id: 'kinds',
  caption: 'Divergence by kind of site, in thousandths of a nat: each in all layers together.',
  corner: 'Site',
  columns: ['Bits', 'It alone rounded', 'Gained if it alone stays in float'],
  rows: sorted.map(({ site, bits, alone, spared }) => ({
    name: site,
    cells: [String(bits), bar(alone), bar(gain(spared))],
  })),
})}
${
  sites &&
  html`${divergenceMap('alone', 'Divergence by single sites, each alone rounded.', sites.alone)}
${divergenceMap(
  'spared',
  'What is gained if one single site stays in float, in the model where all others are rounded.',
  sites.spared.map(({ site, layers }) => ({
    site,
    layers: layers.map((value) => (value === null ? null : Math.max(0, sites.whole - value))),
  })),
)}`
}`;
  return { id: 'sensitivity', title: 'Sensitivity', content };
}

/** Colours in steps of a half power of ten, downwards from the largest. */
function divergenceMap(id: string, caption: string, rows: readonly SiteValues[]): Markup {
  const largest = Math.max(...rows.flatMap(({ layers }) => layers.map((value) => value ?? 0)), 1e-12);
  const top = Math.floor(2 * Math.log10(largest)) / 2;
  const limits = Array.from({ length: 7 }, (_, i) => rounded(10 ** (top - (6 - i) / 2)));
  return heatMap({
    id,
    caption,
    rows,
    limits,
    costly: 'largest',
    unit: '10⁻⁶ nats',
    text: (value) => shortNumber(Number((1e6 * value).toPrecision(3))),
    none: 'not rounded',
  });
}

/** To 1 or 3 of a power of ten, nearly its half power. */
const rounded = (limit: number): number => Number(limit.toPrecision(1));
