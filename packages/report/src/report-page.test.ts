import { expect, test } from 'vitest';
import { HOSTILE, sampleReport } from '../test/sample-report.ts';
import { type ReportData, reportPage } from './index.ts';

const page = reportPage(sampleReport());
const headings = (html: string): string[] => [...html.matchAll(/<h2 id="([^"]+)"/g)].map(([, id]) => id as string);
const all = (html: string, pattern: RegExp): string[] =>
  [...html.matchAll(pattern)].map(([, found]) => found as string);

/** The cells of a table's row, as text. */
const row = (html: string, table: string, name: string): string[] => {
  const from = html.indexOf(`<caption id="${table}">`);
  const body = html.slice(from, html.indexOf('</table>', from));
  const found = body.slice(body.indexOf(`<th scope="row">${name}</th>`));
  return all(found.slice(0, found.indexOf('</tr>')), /<td[^>]*>(.*?)<\/td>/g).map((cell) =>
    cell.replace(/<[^>]*>/g, '').replaceAll('\u00a0', ' '),
  );
};

test('every section is there and in the navigation', () => {
  expect(headings(page)).toEqual([
    'summary',
    'cost',
    'sensitivity',
    'noise',
    'ranges',
    'outliers',
    'learning',
    'overrides',
  ]);
  expect(all(page, /<li><a href="#([^"]+)"/g)).toEqual(headings(page));
});

test('what was not measured has no section', () => {
  const { models, tool } = sampleReport();
  const [{ score, tuning, ...bare }] = models;
  const small = reportPage({ models: [bare], tool });
  expect(headings(small)).toEqual(['summary', 'cost']);
  expect(small.replaceAll('\u00a0', ' ')).toContain(
    'smollm2-w8a8 is smollm2 quantized to w8a8 by best: 249 MB instead of 652 MB.</p>',
  );
});

test('the summary says what was measured', () => {
  expect(page).toContain('lies 0.58 ± 0.09 % above that of the original model over 64 windows.');
  expect(row(page, 'models', 'smollm2-w8a8')).toEqual([
    'w8a8',
    'best',
    'W8 · A8, A16',
    '249 MB',
    '29.23',
    '+0.58 %',
    '0.09 %',
    '0.0087',
    '94.2 %',
  ]);
});

test('a heat map has its numbers in cells, in words, and in a table', () => {
  const layers = Array.from({ length: 4 }, (_, i) => (i === 1 ? null : ([31, 0, 48, 22][i] as number)));
  const noise = { own: [{ site: 'mlp.w1.output', layers }], total: [] };
  const { models, tool } = sampleReport();
  const html = reportPage({
    models,
    tool,
    noise: { ...noise, total: [{ site: 'mlp.w2.weight', layers: [null, null] }] },
  });
  expect(html).toContain('aria-label="22.0 dB in layer 3 to 48.0 dB in layer 2"');
  expect(html).toContain(
    '<rect class="h6" x="3" width="1" height="1"><title>layer 3: 22.0 dB</title>'.replace('h6', 'h5'),
  );
  expect(row(html, 'own-table', 'mlp.w1.output')).toEqual(['31.0', 'no noise', '48.0', '22.0']);
});

test('ids are unique, and whatever refers to one finds it', () => {
  const ids = all(page, /\sid="([^"]+)"/g);
  expect(new Set(ids).size).toBe(ids.length);
  const references = [
    ...all(page, /aria-labelledby="([^"]+)"/g).flatMap((list) => list.split(' ')),
    ...all(page, /href="#([^"]+)"/g),
  ];
  for (const id of references) expect(ids).toContain(id);
});

test('the page needs nothing else, and forbids it', () => {
  expect(page).toContain(
    `content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"`,
  );
  expect(page).not.toMatch(/<(script|link|img|iframe|object)|\ssrc=|url\(|@import|https?:/);
});

test('text from files stays text', () => {
  const hostile = reportPage(sampleReport(HOSTILE));
  const tags = (html: string) => new Set(all(html, /<([a-z0-9]+)/g));
  expect(tags(hostile)).toEqual(tags(page));
  expect(all(hostile, /\s(on[a-z]+)=/g)).toEqual(all(hostile, /&gt;.{0,30}\s(on[a-z]+)=/g)); // only inside of text
  expect(hostile).not.toMatch(/[\u202e\ud800]/);
  expect(all(hostile, /(<\/style>)/g)).toHaveLength(1);
});

test('numbers that are text in a damaged file do no harm', () => {
  const data = JSON.parse(JSON.stringify(sampleReport()));
  data.outliers[0].found[0].channel.index = '<b>';
  data.noise.own[0].layers[0] = '<b>';
  data.models[0].score.windows = '<b>';
  expect(reportPage(data as ReportData)).not.toContain('<b>');
});

test('a recipe to be saved is the one that is shown', () => {
  const [href = ''] = all(page, /href="data:application\/json;charset=utf-8,([^"]+)"/g);
  const { overrides = [] } = sampleReport();
  expect(JSON.parse(decodeURIComponent(href))).toEqual(overrides[0]?.recipe);
  expect(page).toContain(
    '    { &quot;site&quot;: &quot;model.layers.0.mlp.w2.input&quot;, &quot;spec&quot;: { &quot;bits&quot;: 16 } }\n',
  );
});
