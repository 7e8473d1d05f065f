/** How tuning went: the divergence on text that was held out, step by step. */
import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { behind, dataTable } from './data-table.ts';
import { html, type Markup } from './markup.ts';
import { shortNumber } from './numbers.ts';
import { fromTop, percentage, plot, SIDE } from './plot.ts';
import type { ModelFacts, Tuning } from './report-data.ts';
import type { Section } from './section.ts';

type Tuned = ModelFacts & { readonly tuning: Tuning };

const LINES = 3; // kinds of strokes that can be told apart

/** Of models that were tuned, three at most. */
export function learning(models: readonly Tuned[]): Section {
  const shown = models.slice(0, LINES);
  const all = shown.flatMap(({ tuning }) => tuning.evaluations);
  const x = scaleLinear().domain([0, Math.max(...all.map(({ step }) => step), 1)]);
  const y = scaleLinear()
    .domain([0, Math.max(...all.map(({ divergence }) => divergence), Number.MIN_VALUE)])
    .nice(4);
  const path = line<Tuning['evaluations'][number]>()
    .x(({ step }) => Number((SIDE * x(step)).toFixed(1)))
    .y(({ divergence }) => Number((SIDE * (1 - y(divergence))).toFixed(1)));
  const content = html`<p>Mean divergence from the float model, in nats a token, on text that was not learned from. The circle marks the step that was kept.</p>
<ul class="legend">${shown.map(({ name }, i) => html`<li><svg aria-hidden="true" width="28" height="12"><line class="line l${i}" x1="0" x2="28" y1="6" y2="6"/></svg> ${name}</li>`)}</ul>
${plot({
  id: 'learning-plot',
  title: 'Divergence while tuning',
  description: shown.map(inWords).join(' '),
  height: 240,
  x: { label: 'step', place: x, ticks: x.ticks(5).map((at) => ({ at, label: String(at) })) },
  y: { label: 'nats a token', place: y, ticks: y.ticks(4).map((at) => ({ at, label: shortNumber(at) })) },
  paths: html`${shown.map(({ tuning }, i) => html`<path class="line l${i}" d="${path(tuning.evaluations) ?? ''}"/>`)}`,
  points: html`${shown.map(({ tuning }, i) => kept(tuning).map(({ step, divergence }) => html`<circle class="kept l${i}" cx="${percentage(x(step))}" cy="${fromTop(y(divergence))}" r="5"/>`))}`,
})}
${behind('The numbers as a table', html`${shown.map(table)}`)}`;
  return { id: 'learning', title: 'Learning', content };
}

const kept = ({ step, evaluations }: Tuning) => evaluations.filter((evaluation) => evaluation.step === step);

function inWords({ name, tuning }: Tuned): string {
  const [first] = tuning.evaluations;
  const [best] = kept(tuning);
  if (!first || !best) return `${name}: no state was chosen by its divergence.`;
  return `${name}: from ${shortNumber(first.divergence)} to ${shortNumber(best.divergence)} at step ${best.step}.`;
}

const table = ({ name, tuning }: Tuned, i: number): Markup =>
  dataTable({
    id: `learning-table-${i}`,
    caption: `${name}, nats a token.`,
    corner: 'Step',
    columns: ['Divergence'],
    rows: tuning.evaluations.map(({ step, divergence }) => ({
      name: String(step),
      cells: [shortNumber(divergence)],
      marked: step === tuning.step,
    })),
  });
