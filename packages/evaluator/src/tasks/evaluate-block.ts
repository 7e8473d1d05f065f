/** A block of items under a model: what each item came to, as a record that can be written down and counted later. */
import type { Block } from './blocks.ts';
import type { Request, TextCoder } from './encode-pair.ts';
import { type ItemValues, requestsOf, textValues, valuesOf } from './item-values.ts';
import type { Scorer } from './score.ts';
import { readingOf } from './score.ts';
import { TaskError } from './task-error.ts';

export interface ItemRecord {
  readonly task: string;
  /** Its number among the task's items. */
  readonly item: number;
  /** What it gives to each metric. */
  readonly values: ItemValues;
  /** Of each choice, the continuation, or each window. */
  readonly logLikelihoods: readonly number[];
  /** Tokens at the beginning that the model did not read, since the text is too long for it. */
  readonly cut?: number;
  /** Time of the block, divided by its items. */
  readonly seconds: number;
}

/**
 * @throws TaskError for likelihoods that are not finite, and for items that do not fit the task.
 */
export async function evaluateBlock(
  { task, first, items, shots }: Block,
  scorer: Scorer,
  coder: TextCoder,
  now: () => number = () => performance.now(),
): Promise<ItemRecord[]> {
  const start = now();
  const { length } = scorer;
  const requests = items.map((item, i) => requestsOf(task, item, { coder, shots: shots[i] ?? [], length }));
  const found: { values: ItemValues; logLikelihoods: number[] }[] = [];
  if (task.kind === 'text') {
    for (const [i, item] of items.entries()) {
      const windows = requests[i] as Request[];
      const logLikelihoods = await scorer.windows(windows);
      const tokens = windows.reduce((total, { continuation }) => total + continuation.length, 0);
      const sum = logLikelihoods.reduce((total, value) => total + value, 0);
      found.push({ values: textValues(task, item, sum, tokens), logLikelihoods });
    }
  } else {
    for (const [i, scores] of (await scorer.score(requests)).entries()) {
      const logLikelihoods = scores.map(({ logLikelihood }) => logLikelihood);
      found.push({ values: valuesOf(task, items[i] ?? {}, scores), logLikelihoods });
    }
  }
  const seconds = (now() - start) / 1000 / items.length;
  return found.map(({ values, logLikelihoods }, i) => {
    const broken = logLikelihoods.find((value) => !Number.isFinite(value));
    if (broken !== undefined) {
      const where = `${task.name}, item ${first + i}`;
      throw new TaskError(
        where,
        'a log-likelihood',
        String(broken),
        'Look for values in the weights that are not finite.',
      );
    }
    const cut = Math.max(...(requests[i] as Request[]).map((request) => readingOf(request, length).cut), 0);
    return { task: task.name, item: first + i, values, logLikelihoods, ...(cut > 0 && { cut }), seconds };
  });
}
