/** The largest values: which channel, which token, how far above the others. */
import { dataTable } from './data-table.ts';
import { html, type Markup } from './markup.ts';
import { fixed, shortNumber } from './numbers.ts';
import type { Outlier, Peak, ReportData } from './report-data.ts';
import type { Section } from './section.ts';

export function outliers(models: NonNullable<ReportData['outliers']>): Section {
  const content = html`<p>Where single channels or tokens stand out in float: the largest magnitude, and how many times that of the median channel or token it is.</p>
${models.map(({ model, found }, i) =>
  dataTable({
    id: `outliers-${i}`,
    caption: `Outliers in ${model}, those that stand out most first; of each kind of site the worst layer.`,
    corner: 'Site',
    columns: ['Magnitude', 'Channel', '× median', 'Token', '× median'],
    words: [3],
    rows: found.map(({ site, channel, token }) => ({
      name: site,
      cells: [shortNumber(channel.largest), String(channel.index), times(channel), textOf(token), times(token)],
    })),
  }),
)}`;
  return { id: 'outliers', title: 'Outliers', content };
}

const times = ({ largest, median }: Peak): string =>
  median > 0 ? fixed(largest / median, largest / median < 10 ? 1 : 0) : '∞';

/** A token between those beside it. */
const textOf = ({ before, text, after, index }: Outlier['token']): Markup =>
  html`<q><span>${lines(before)}</span><mark>${visible(text)}</mark><span>${lines(after)}</span></q> <small>at ${index}</small>`;

const lines = (text: string): string => text.replaceAll('\n', '↵').replaceAll('\t', '⇥');

/** A token of blanks has to be seen. */
const visible = (text: string): string => lines(text).replaceAll(' ', '␣');
