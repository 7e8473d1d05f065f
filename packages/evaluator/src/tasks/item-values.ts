/**
 * What a task asks about one item, and what the scores are worth to its metrics.
 */
import { encodePairs, encodeText, prefixToken, type Request, type TextCoder } from './encode-pair.ts';
import type { ItemValue, MetricName } from './metrics.ts';
import { bytes, characters, splitCount } from './python-text.ts';
import { rollingWindows } from './rolling-windows.ts';
import type { Score } from './score.ts';
import type { ChoiceTask, ContinuationTask, Task, TextTask } from './task.ts';
import { TaskError } from './task-error.ts';
import { described, fill, type Item, textsAt, valueAt } from './template.ts';

export type ItemValues = Readonly<Partial<Record<MetricName, ItemValue>>>;

const DELIMITER = ' '; // between prompt and answer
const BETWEEN_SHOTS = '\n\n';

/** The prompt of an item behind solved ones. */
export function promptOf(task: ChoiceTask | ContinuationTask, item: Item, shots: readonly Item[]): string {
  const solved = shots.map((shot) => fill(task.prompt, shot) + DELIMITER + solutionOf(task, shot) + BETWEEN_SHOTS);
  return fill(task.description ?? '', item) + solved.join('') + fill(task.prompt, item);
}

function solutionOf(task: ChoiceTask | ContinuationTask, item: Item): string {
  if (task.kind === 'continuation') return fill(task.continuation, item);
  return choicesOf(task, item)[goldOf(task, item)] as string;
}

/** The answers that a task offers. */
export const choicesOf = ({ choices }: ChoiceTask, item: Item): readonly string[] =>
  typeof choices === 'string' ? textsAt(item, choices) : choices;

/**
 * The number of the right answer.
 *
 * @throws TaskError where it is not among them.
 */
export function goldOf(task: ChoiceTask, item: Item): number {
  const { gold } = task;
  const value =
    typeof gold === 'string'
      ? numberIn(valueAt(item, gold))
      : textsAt(item, gold.in).indexOf(String(valueAt(item, gold.find)));
  const count = choicesOf(task, item).length;
  if (Number.isInteger(value) && value >= 0 && value < count) return value;
  const [where, received] =
    typeof gold === 'string' ? [gold, valueAt(item, gold)] : [gold.find, valueAt(item, gold.find)];
  throw new TaskError(where, `one of ${count} answers`, described(received), 'Compare the task with the items.');
}

/** A label: a number, or its digits. An empty one is none. */
const numberIn = (label: unknown): number =>
  typeof label === 'number' || typeof label === 'boolean' || /^\d+$/.test(String(label)) ? Number(label) : Number.NaN;

/** What is to be scored for an item: its answers behind the prompt, or its windows of up to `length` tokens. */
export function requestsOf(
  task: Task,
  item: Item,
  { coder, shots, length }: { readonly coder: TextCoder; readonly shots: readonly Item[]; readonly length: number },
): Request[] {
  switch (task.kind) {
    case 'choice': {
      const answers = choicesOf(task, item).map((choice) => DELIMITER + choice);
      return encodePairs(coder, promptOf(task, item, shots), answers);
    }
    case 'continuation':
      return encodePairs(coder, promptOf(task, item, shots), [fill(task.continuation, item)]);
    case 'text':
      return rollingWindows(encodeText(coder, fill(task.text, item)), prefixToken(coder), length);
  }
}

/** What an item gives to the metrics of a task that asks for an answer. */
export function valuesOf(task: ChoiceTask | ContinuationTask, item: Item, scores: readonly Score[]): ItemValues {
  const all = task.kind === 'choice' ? choiceValues(task, item, scores) : continuationValues(scores);
  return chosen(task, all);
}

function choiceValues(task: ChoiceTask, item: Item, scores: readonly Score[]): ItemValues {
  const choices = choicesOf(task, item);
  const gold = goldOf(task, item);
  const hit = (perUnit: (choice: string) => number): number => {
    const rated = scores.map(({ logLikelihood }, i) => logLikelihood / perUnit(choices[i] as string));
    return rated.indexOf(Math.max(...rated)) === gold ? 1 : 0;
  };
  return {
    acc: hit(() => 1),
    acc_norm: hit(characters),
    acc_bytes: hit(bytes),
    exact_match: scores[gold]?.greedy ? 1 : 0,
  };
}

function continuationValues(scores: readonly Score[]): ItemValues {
  const [{ logLikelihood, greedy }] = scores as [Score];
  return { perplexity: logLikelihood, acc: greedy ? 1 : 0 };
}

/** What a document gives to the metrics of its task. */
export function textValues(task: TextTask, item: Item, logLikelihood: number, tokens: number): ItemValues {
  const counted = fill(task.counted, item);
  const size = bytes(counted);
  return chosen(task, {
    token_perplexity: [logLikelihood, tokens],
    word_perplexity: [logLikelihood, splitCount(counted)],
    byte_perplexity: [logLikelihood, size],
    bits_per_byte: [logLikelihood, size],
  });
}

/** The values of a task's metrics, in their order. */
function chosen({ name, metrics }: Task, values: ItemValues): ItemValues {
  const unknown = metrics.find((metric) => values[metric] === undefined);
  if (unknown !== undefined)
    throw new TaskError(`${name}: metrics`, Object.keys(values).join(', '), unknown, 'Choose among these.');
  return Object.fromEntries(metrics.map((metric) => [metric, values[metric] as ItemValue]));
}
