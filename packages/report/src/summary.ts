/** What it all came to: a sentence, four numbers, and a table of all models. */
import { barred } from './bar.ts';
import { dataTable } from './data-table.ts';
import { html, type Markup } from './markup.ts';
import { bytes, fixed, percent, shortNumber, signedPercent, widthOf } from './numbers.ts';
import type { ModelFacts, ReportData, Score } from './report-data.ts';
import type { Section } from './section.ts';

/** The models compared: the float one first, if it was measured. */
export function summary({ models }: ReportData): Section {
  const losses = models.map(({ score }) => (score?.comparison ? score.comparison.ratio - 1 : 0));
  const largest = Math.max(...losses, 0);
  const [main] = models;
  const float = main.score?.comparison;
  const content = html`${keyFigures(main)}
${dataTable({
  id: 'models',
  caption: `Models${float ? `, against ${nameOf(float.with)}` : ''}.`,
  corner: 'Model',
  columns: ['Recipe', 'Method', 'Widths', 'Size', 'Perplexity', 'Loss', '± s. e.', 'Divergence', 'Agreement'],
  words: [0, 1, 2],
  rows: [
    {
      name: `${main.source}, float`,
      cells: ['–', '–', '32 bits', bytes(main.floatBytes), float && fixed(float.perplexity, 2)],
    },
    ...models.map((model, i) => ({
      name: model.name,
      marked: i === 0 && models.length > 1,
      cells: cellsOf(model, largest),
    })),
  ],
})}
<p class="note">Loss: how far the perplexity lies above that of the float model, with the standard error over windows, paired. Divergence: Kullback-Leibler, in
nats a token, of the next token’s distribution from the float model’s. Agreement: share of equal likeliest tokens. Size: of the tensors.</p>`;
  return { id: 'summary', title: 'Summary', content };
}

function cellsOf(model: ModelFacts, largest: number): readonly (Markup | string | undefined)[] {
  const { score } = model;
  const found = score?.comparison;
  return [
    model.recipe,
    model.method,
    widths(model),
    bytes(model.bytes),
    score && fixed(score.perplexity, 2),
    found && barred(signedPercent(found.ratio - 1), largest > 0 ? (found.ratio - 1) / largest : 0),
    found?.standardError === undefined ? undefined : percent(found.standardError),
    found && fixed(found.divergence, 4),
    found && percent(found.agreement, 1),
  ];
}

/** @example 'W8 A8, A16' */
function widths({ work }: ModelFacts): string {
  const distinct = (letter: string, all: readonly number[]): string =>
    [...new Set(all)]
      .sort((a, b) => a - b)
      .map((bits) => (bits >= 32 ? `${letter} ${widthOf(bits)}` : `${letter}${bits}`))
      .join(', ');
  return `${distinct(
    'W',
    work.map(({ weightBits }) => weightBits),
  )} · ${distinct(
    'A',
    work.map(({ inputBits }) => inputBits),
  )}`;
}

function keyFigures({ score, bytes: quantized, floatBytes }: ModelFacts): Markup {
  const found = score?.comparison;
  const figures: (readonly [string, string, string])[] = [];
  if (found) {
    const { ratio, standardError, divergence, agreement } = found;
    const within = standardError === undefined ? '' : `± ${percent(standardError)}`;
    figures.push(['Loss of perplexity', signedPercent(ratio - 1), within]);
    figures.push(['Divergence', shortNumber(divergence), 'nats a token']);
    figures.push(['Agreement', percent(agreement, 1), 'of likeliest tokens']);
  }
  figures.push(['Size', bytes(quantized), `${percent(quantized / floatBytes, 0)} of float32`]);
  return html`<dl class="figures">${figures.map(
    ([name, value, more]) => html`<div><dt>${name}</dt><dd>${value} <small>${more}</small></dd></div>`,
  )}</dl>`;
}

/** The first model in a sentence or two. */
export function lead({ name, recipe, method, source, bytes: quantized, floatBytes, score }: ModelFacts): string {
  const size = `${name} is ${source} quantized to ${recipe} by ${method}: ${bytes(quantized)} instead of ${bytes(floatBytes)}.`;
  return score ? `${size} ${scored(score)}` : size;
}

function scored({ form, perplexity, windows, comparison: found }: Score): string {
  const over = windows === undefined ? '' : ` over ${windows} windows`;
  if (!found) return `Its perplexity, ${how(form)}, is ${fixed(perplexity, 2)}${over}.`;
  const { ratio, standardError } = found;
  const side = ratio >= 1 ? 'above' : 'below';
  const within = standardError === undefined ? '' : ` ± ${fixed(100 * standardError, 2)}`;
  return `Its perplexity, ${how(form)}, lies ${fixed(100 * Math.abs(ratio - 1), 2)}${within} % ${side} that of ${nameOf(found.with)}${over}.`;
}

const how = (form: string): string => (form === 'integer' ? 'in integers' : form);

const nameOf = (other: string): string =>
  other === 'reference' ? 'the original model' : other === 'float' ? 'its own float form' : `its form ${other}`;
