/** Ranges of activations over the layers, one small plot a site: what passed in the original model, and what the grid covers now. */
import { scaleLinear, scaleSymlog } from 'd3-scale';
import { area } from 'd3-shape';
import { behind, dataTable } from './data-table.ts';
import { html, type Markup } from './markup.ts';
import { powerOfTen, shortNumber } from './numbers.ts';
import { plot, SIDE } from './plot.ts';
import type { Range, SiteRanges } from './report-data.ts';
import type { Section } from './section.ts';

type Layers = readonly (Range | null)[];

export function ranges(sites: readonly SiteRanges[]): Section {
  const compared = sites.some(({ before }) => before.some((range) => range !== null));
  const content = html`<p>The range that each site’s grid covers, layer by layer${compared ? ', and what passed there in the original model' : ''}. The scale is linear around zero and logarithmic outside.</p>
<ul class="legend">${compared && html`<li><svg aria-hidden="true" width="22" height="12"><rect class="past" x=".5" y=".5" width="21" height="11"/></svg> original model</li>`}<li><svg aria-hidden="true" width="22" height="12"><rect class="now" x=".5" y=".5" width="21" height="11"/></svg> grid</li></ul>
<div class="multiples">${sites.map(small)}</div>
${behind(
  'The numbers as a table',
  dataTable({
    id: 'ranges-table',
    caption: 'Ranges over all layers: smallest and largest.',
    corner: 'Site',
    columns: ['Original, least', 'Original, most', 'Grid, least', 'Grid, most'],
    rows: sites.map(({ site, before, after }) => ({
      name: site,
      cells: [...extremes(before), ...extremes(after)].map((x) => (x === undefined ? undefined : shortNumber(x))),
    })),
  }),
)}`;
  return { id: 'ranges', title: 'Ranges', content };
}

function extremes(layers: Layers): [number | undefined, number | undefined] {
  const known = layers.filter((range) => range !== null);
  if (known.length === 0) return [undefined, undefined];
  return [Math.min(...known.map(({ min }) => min)), Math.max(...known.map(({ max }) => max))];
}

function small({ site, before, after }: SiteRanges, index: number): Markup {
  const layers = Math.max(before.length, after.length);
  const [least = 0, most = 0] = extremes([...before, ...after]);
  const largest = Math.max(-least, most, 1e-9);
  const vertical = scaleSymlog()
    .constant(largest / 30)
    .domain([Math.min(least, 0), Math.max(most, 0) || largest])
    .range([0, 1]);
  const horizontal = scaleLinear().domain([-0.5, layers - 0.5]);
  const shape = area<{ readonly layer: number; readonly range: Range | null }>()
    .defined(({ range }) => range !== null)
    .x(({ layer }) => Number((SIDE * horizontal(layer)).toFixed(1)))
    .y0(({ range }) => Number((SIDE * (1 - vertical(range?.min ?? 0))).toFixed(1)))
    .y1(({ range }) => Number((SIDE * (1 - vertical(range?.max ?? 0))).toFixed(1)));
  const band = (of: Layers, kind: string): Markup => {
    const steps = of.flatMap((range, layer) => [layer - 0.5, layer, layer + 0.5].map((at) => ({ layer: at, range })));
    return html`<path class="${kind}" d="${shape(steps) ?? ''}"/>`;
  };
  const [low, high] = extremes(after);
  const covers =
    low === undefined || high === undefined ? '' : `The grid covers ${shortNumber(low)} to ${shortNumber(high)}`;
  const [from, to] = extremes(before);
  const passed =
    from === undefined || to === undefined
      ? ''
      : `; ${shortNumber(from)} to ${shortNumber(to)} passed in the original model`;
  return html`<div><h3>${site}</h3>${plot({
    id: `range-${index}`,
    title: `Range of ${site}`,
    description: `${covers}${passed}.`,
    height: 110,
    x: {
      label: '',
      place: horizontal,
      ticks: [0, layers - 1]
        .filter((layer, i, all) => all.indexOf(layer) === i)
        .map((at) => ({ at, label: layerLabel(at) })),
    },
    y: { label: '', place: vertical, ticks: ticksOf(least, most, largest) },
    paths: html`${band(before, 'past')}${band(after, 'now')}`,
  })}</div>`;
}

const layerLabel = (layer: number): string => (layer === 0 ? 'layer 0' : String(layer));

/** Zero, and the two last powers of ten on each side that has them. */
function ticksOf(least: number, most: number, largest: number): { at: number; label: string }[] {
  const top = Math.floor(Math.log10(largest));
  const powers = [top, top - 1].filter((power) => 10 ** power >= largest / 30);
  const side = (sign: 1 | -1, limit: number) =>
    powers
      .filter((power) => 10 ** power <= limit)
      .map((power) => ({ at: sign * 10 ** power, label: `${sign < 0 ? '−' : ''}${plain(power)}` }));
  return [{ at: 0, label: '0' }, ...side(1, most), ...side(-1, -least)];
}

const plain = (power: number): string => (power >= -2 && power <= 3 ? shortNumber(10 ** power) : powerOfTen(power));
