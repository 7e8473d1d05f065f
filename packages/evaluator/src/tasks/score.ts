/**
 * How likely a model finds continuations: the one thing that tasks need of it. Whatever can say that can be measured; this makes it of a
 * `LanguageModel`.
 *
 * A model that reads trees gets several items in one run, each prompt once. Runs are filled in order, so that what is read
 * together, and with it every bit of the result, depends on the requests alone.
 */
import { type GrowingTree, growingTree, type LanguageModel } from '@mobilequant/core';
import { expOfNegative } from '../exp-of-negative.ts';
import type { Request } from './encode-pair.ts';
import { TaskError } from './task-error.ts';

export interface Score {
  /** Σ log p(token) of the continuation, in nats. */
  readonly logLikelihood: number;
  /** Whether each token of it is the likeliest one. */
  readonly greedy: boolean;
}

export interface Scorer {
  /** Tokens of the longest text that it reads; what is before them is cut off. */
  readonly length: number;
  /** The scores of each item's requests. */
  score(items: readonly (readonly Request[])[]): Promise<Score[][]>;
  /** The log-likelihoods of requests that fill whole windows. */
  windows(requests: readonly Request[]): Promise<number[]>;
}

/** What the model reads of a request: all but its last token, from the left no more than `length`. */
export interface Reading {
  readonly input: Int32Array;
  /** What stands behind the last so many tokens of the input. */
  readonly targets: Int32Array;
  /** Tokens that were cut off. */
  readonly cut: number;
}

/**
 * @throws TaskError for a continuation that is longer than what the model reads.
 */
export function readingOf({ context, continuation }: Request, length: number): Reading {
  if (continuation.length > length) {
    const expected = `a continuation of at most ${length} tokens`;
    throw new TaskError('score', expected, String(continuation.length), 'Let the model read longer texts.');
  }
  const whole = new Int32Array(context.length + continuation.length);
  whole.set(context);
  whole.set(continuation, context.length);
  const cut = Math.max(0, whole.length - (length + 1));
  return { input: whole.subarray(cut, -1), targets: continuation, cut };
}

export interface ModelScorerOptions {
  /** Tokens of the longest text. */
  readonly length: number;
  /** Tokens that are read in one run; twice its first item where that is more, so that long prompts are shared too. Default 256. */
  readonly together?: number;
}

/** A language model as a scorer. */
export function modelScorer(model: LanguageModel, { length, together = 256 }: ModelScorerOptions): Scorer {
  return {
    length,
    async score(items) {
      const readings = items.map((requests) => requests.map((request) => readingOf(request, length)));
      if (!model.treeLogits) {
        const scores: Score[][] = [];
        for (const item of readings) scores.push(await scoreApart(model, item));
        return scores;
      }
      const scores: Score[][] = [];
      for (const run of runsOf(readings, together)) scores.push(...(await scoreTogether(model, run)));
      return scores;
    },
    async windows(requests) {
      const sums: number[] = [];
      for (const request of requests) sums.push(await windowLikelihood(model, readingOf(request, length)));
      return sums;
    },
  };
}

/** Items, in order, in runs of up to `together` tokens. */
function runsOf(items: readonly (readonly Reading[])[], together: number): (readonly Reading[])[][] {
  const runs: (readonly Reading[])[][] = [];
  let tree = growingTree();
  let room = 0;
  for (const item of items) {
    if (runs.length === 0 || tree.size() + costOf(item, tree) > room) {
      tree = growingTree();
      room = Math.max(together, 2 * costOf(item, tree));
      runs.push([]);
    }
    for (const { input } of item) tree.add(input);
    runs.at(-1)?.push(item);
  }
  return runs;
}

/** Tokens that an item adds to a tree, at most: its texts share what they have in common with the tree, or with the first of them. */
function costOf(item: readonly Reading[], tree: GrowingTree): number {
  const [first] = item;
  return item.reduce((total, reading) => {
    const own = tree.cost(reading.input);
    const behind =
      reading === first ? own : reading.input.length - commonLength(reading.input, (first as Reading).input);
    return total + Math.min(own, behind);
  }, 0);
}

function commonLength(a: Int32Array, b: Int32Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return i;
  return length;
}

/** All items of a run in one tree; rows of logits that several texts need are there once. */
async function scoreTogether(model: LanguageModel, items: readonly (readonly Reading[])[]): Promise<Score[][]> {
  const growing = growingTree();
  const rows = new Map<number, number>(); // place in the tree → row of the logits
  const rowsOfItems = items.map((item) =>
    item.map(({ input, targets }) =>
      Array.from(growing.add(input).subarray(-targets.length), (place) => {
        if (!rows.has(place)) rows.set(place, rows.size);
        return rows.get(place) as number;
      }),
    ),
  );
  const logits = (await model.treeLogits?.(growing.tree(), Int32Array.from(rows.keys()))) as Float32Array;
  const row = rowReader(logits, model.vocab);
  return items.map((item, i) =>
    item.map(({ targets }, j) => scoreOf(targets, (k) => row(rowsOfItems[i]?.[j]?.[k] as number))),
  );
}

/** An item's texts one after another; one that another begins with needs no run of its own. */
async function scoreApart(model: LanguageModel, item: readonly Reading[]): Promise<Score[]> {
  const scores: Score[] = new Array(item.length);
  const left = [...item.entries()].sort(([, a], [, b]) => b.input.length - a.input.length);
  while (left.length > 0) {
    const { input } = (left[0] as [number, Reading])[1];
    const row = rowReader(await model.logits(input), model.vocab);
    const covered = left.filter(([, other]) => commonLength(input, other.input) === other.input.length);
    for (const [index, { input, targets }] of covered) {
      scores[index] = scoreOf(targets, (k) => row(input.length - targets.length + k));
      left.splice(
        left.findIndex(([at]) => at === index),
        1,
      );
    }
  }
  return scores;
}

/** A window's likelihood; models that take texts of any length compute it themselves if they can. */
async function windowLikelihood(model: LanguageModel, { input, targets }: Reading): Promise<number> {
  if (!(model.treeLogits && model.negativeLogLikelihood)) {
    const row = rowReader(await model.logits(input), model.vocab);
    return scoreOf(targets, (k) => row(input.length - targets.length + k)).logLikelihood;
  }
  const text = new Int32Array(input.length + 1);
  text.set(input);
  text.set(targets.subarray(-1), input.length);
  const losses = await model.negativeLogLikelihood(text);
  return -losses.subarray(-targets.length).reduce((total, loss) => total + loss, 0);
}

interface Row {
  readonly logits: Float32Array;
  /** log Σ exp of them. */
  readonly logSum: number;
  /** The first of the largest. */
  readonly likeliest: number;
}

/** Rows of logits `[rows, vocab]`, each gone through once. */
function rowReader(logits: Float32Array, vocab: number): (index: number) => Row {
  const rows = new Map<number, Row>();
  return (index) => {
    const found = rows.get(index) ?? rowOf(logits.subarray(index * vocab, (index + 1) * vocab));
    rows.set(index, found);
    return found;
  };
}

function rowOf(logits: Float32Array): Row {
  let likeliest = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[likeliest] as number)) likeliest = i;
  const top = logits[likeliest] as number;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += expOfNegative((logits[i] as number) - top);
  return { logits, logSum: top + Math.log(sum), likeliest };
}

/** The score of targets, each behind its row. */
function scoreOf(targets: Int32Array, rowBefore: (target: number) => Row): Score {
  let logLikelihood = 0;
  let greedy = true;
  for (let k = 0; k < targets.length; k++) {
    const { logits, logSum, likeliest } = rowBefore(k);
    logLikelihood += (logits[targets[k] as number] as number) - logSum;
    greedy &&= likeliest === targets[k];
  }
  return { logLikelihood, greedy };
}
