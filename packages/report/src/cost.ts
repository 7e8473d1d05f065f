/** What the models ask of a device: bytes by width, multiply-accumulates by the widths of both operands. */
import { type Part, stackedBar } from './bar.ts';
import { behind, dataTable } from './data-table.ts';
import { html } from './markup.ts';
import { bytes, count, percent, widthOf } from './numbers.ts';
import type { ModelFacts, ReportData } from './report-data.ts';
import type { Section } from './section.ts';

export function cost({ models }: ReportData): Section {
  const most = Math.max(...models.map(({ floatBytes }) => floatBytes));
  const whole = (model: ModelFacts): number => model.work.reduce((sum, { products }) => sum + products, 0);
  const byWidth = (model: ModelFacts) => [...model.work].sort((a, b) => b.products - a.products);
  const [main] = models;
  const content = html`<figure aria-labelledby="bytes-caption">
<figcaption id="bytes-caption">Bytes of the weights, by width, as shares of the float32 model.</figcaption>
${stackedBar(`${main.source}, float: ${bytes(main.floatBytes)}`, [{ kind: 'w32', share: main.floatBytes / most, label: `float ${bytes(main.floatBytes)}` }])}
${models.map((model) =>
  stackedBar(
    `${model.name}: ${bytes(model.bytes)}`,
    model.weights.map(
      (part): Part => ({
        kind: `w${part.bits}`,
        share: part.bytes / most,
        label: `${widthOf(part.bits)} ${bytes(part.bytes)}`,
      }),
    ),
  ),
)}</figure>
<figure aria-labelledby="work-caption">
<figcaption id="work-caption">Multiply-accumulates of the linears and the head for each token, by the widths of weight and input.</figcaption>
${models.map((model) =>
  stackedBar(
    `${model.name}: ${count(whole(model))}`,
    byWidth(model).map(
      ({ weightBits, inputBits, products }): Part => ({
        kind: `m${weightBits}-${inputBits}`,
        share: products / whole(model),
        label: `${widthOf(weightBits)} × ${widthOf(inputBits)} ${percent(products / whole(model), 1)}`,
      }),
    ),
  ),
)}
${behind(
  'The numbers as a table',
  dataTable({
    id: 'work-table',
    caption: 'Multiply-accumulates for each token.',
    corner: 'Model',
    columns: ['Weight', 'Input', 'Products', 'Share'],
    words: [0, 1],
    rows: models.flatMap((model) =>
      byWidth(model).map(({ weightBits, inputBits, products }) => ({
        name: model.name,
        cells: [widthOf(weightBits), widthOf(inputBits), count(products), percent(products / whole(model), 1)],
      })),
    ),
  }),
)}</figure>
<p class="note">Attention’s own products grow with the text and are not counted. What stays in float32 are norms, and embeddings that are looked up, not multiplied.</p>`;
  return { id: 'cost', title: 'Size and work', content };
}
