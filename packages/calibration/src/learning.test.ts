/** Runs of learning: what they reach, and that stopping and going on changes nothing. */
import { NonFiniteError, type Recipe, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { beforeAll, describe, expect, test } from 'vitest';
import { tinyConfig, tinyWeights } from '../test/tiny-layer.ts';
import type { Tree } from './adamw.ts';
import {
  allParameters,
  InterruptedError,
  type LearningInput,
  type LearningOptions,
  type LearningState,
  type LearningStore,
  mean,
  StateMismatchError,
} from './learning.ts';
import { defaultTargets } from './methods.ts';
import { learnEndToEnd } from './mobile-quant.ts';
import { learnLayerWise } from './omni-quant.ts';
import { withKnownRanges } from './quantize-model.ts';
import { collectStatistics, rangesOf } from './statistics.ts';

const runtime = nodeRuntime();
const config = tinyConfig({ hidden: 8, ffn: 12, heads: 2, kvHeads: 1, headDim: 4, layers: 2 });
const weights = tinyWeights(config, 4);
const samples = [Int32Array.of(1, 5, 2, 9), Int32Array.of(7, 3, 3, 0)];
const rate = { from: 5e-3, to: 5e-4 };
const options: LearningOptions = {
  epochs: 2,
  targets: defaultTargets('mobilequant'),
  rates: { let: rate, lwc: rate, lrl: rate },
  warmUp: 1,
};

/** What is learned from two samples on ranges of their own. */
async function inputOf(
  recipe: Recipe,
  model: Pick<LearningInput, 'config' | 'weights'> = { config, weights },
  texts: readonly Int32Array[] = samples,
): Promise<LearningInput> {
  const statistics = await collectStatistics(runtime, model.config, model.weights, texts, { head: false });
  return { ...model, recipe, ranges: withKnownRanges(rangesOf(statistics), recipe), samples: texts };
}

const copy = (tree: Tree): Tree => Object.fromEntries(Object.entries(tree).map(([name, data]) => [name, data.slice()]));

/** Keeps every state that was saved, as a file would: apart from what goes on being learned. */
function memory(first?: LearningState): LearningStore & { readonly states: LearningState[] } {
  const states = first ? [first] : [];
  return {
    states,
    load: async () => states.at(-1),
    save: async (state) => {
      const { parameters, first, second } = state;
      states.push({ ...state, parameters: copy(parameters), first: copy(first), second: copy(second) });
    },
  };
}

const METHODS = [
  { name: 'end to end', learn: learnEndToEnd, steps: 4 },
  { name: 'layer by layer', learn: learnLayerWise, steps: 8 },
] as const;

describe.each(METHODS)('learning $name', ({ learn, steps }) => {
  let input: LearningInput;

  beforeAll(async () => {
    input = await inputOf(recipes.w4a8);
  });

  test.each([recipes.w4a8, recipes['paper-w4a8']])('goes on from any step to the same bits: $name', async (recipe) => {
    const own = await inputOf(recipe);
    const store = memory();
    const whole = await learn(runtime, own, { ...options, store, saveEvery: 0 });
    const want = allParameters(whole.learnables);
    expect(store.states).toHaveLength(steps);
    for (const state of store.states) {
      const { learnables } = await learn(runtime, own, { ...options, store: memory(state) });
      expect(allParameters(learnables), `after ${state.step} steps of layer ${state.layer}`).toEqual(want);
    }
    expect(store.states[0]?.parameters).not.toEqual(want);
  });

  test('stops when it is told to, saved, and goes on as if nothing had happened', async () => {
    const whole = await learn(runtime, input, options);
    const controller = new AbortController();
    const store = memory();
    const stopped = learn(runtime, input, {
      ...options,
      store,
      signal: controller.signal,
      onProgress: ({ done }) => done === steps - 1 && controller.abort(),
    });
    await expect(stopped).rejects.toThrow(InterruptedError);
    expect(store.states).toHaveLength(1);
    const done: number[] = [];
    const onProgress = ({ done: at, total }: { done: number; total: number }) => void done.push(at, total);
    const resumed = await learn(runtime, input, { ...options, store, onProgress });
    expect(done).toEqual([steps, steps]);
    expect(allParameters(resumed.learnables)).toEqual(allParameters(whole.learnables));
    expect(resumed.losses.every(Number.isFinite)).toBe(true);
    expect(resumed.losses.at(-1)).toBeLessThan(2 * (whole.losses.at(-1) as number)); // a mean, over what was done
  });

  test('refuses a state of another run, or of other shapes', async () => {
    const store = memory();
    await learn(runtime, input, { ...options, epochs: 1, store, saveEvery: 0 });
    const last = store.states.at(-1) as LearningState;
    await expect(learn(runtime, input, { ...options, store })).rejects.toThrow(StateMismatchError);
    const others = { ...input, samples: [...samples].reverse() };
    await expect(learn(runtime, others, { ...options, epochs: 1, store })).rejects.toThrow(StateMismatchError);
    const [name] = Object.keys(last.second) as [string];
    for (const broken of [
      { ...last, parameters: { ...last.parameters, [name]: new Float32Array(1000) } },
      { ...last, second: {} },
    ]) {
      const resumed = learn(runtime, input, { ...options, epochs: 1, store: memory(broken) });
      await expect(resumed).rejects.toThrow(`values of ${name}`);
    }
  });

  test('stops at a loss that is no number', async () => {
    const wild = { from: 1e30, to: 1e30 };
    const run = learn(runtime, input, { ...options, warmUp: 0, rates: { let: wild, lwc: wild, lrl: wild } });
    await expect(run).rejects.toThrow(NonFiniteError);
  });

  test('lowers the loss', async () => {
    // 4-bit weights of fewer channels than this are all noise
    const wide = tinyConfig({
      hidden: 16,
      ffn: 24,
      heads: 2,
      kvHeads: 1,
      headDim: 8,
      layers: learn === learnEndToEnd ? 2 : 1,
    });
    const texts = [1, 12].map((first) => Int32Array.from({ length: 12 }, (_, i) => (5 * i + first) % 24));
    const own = await inputOf(recipes.w4a8, { config: wide, weights: tinyWeights(wide, 4) }, texts);
    const fast = (from: number) => ({ from, to: from / 10 });
    const rates = { let: fast(3e-3), lwc: fast(3e-2), lrl: fast(1e-4) };
    const losses: number[] = [];
    await learn(runtime, own, { ...options, rates, epochs: 16, onProgress: ({ loss }) => losses.push(loss as number) });
    const [first, last] = [losses.slice(0, 2), losses.slice(-2)].map(mean) as [number, number];
    expect(last).toBeLessThan(0.9 * first);
  });
});

test('a learned model reports the mean loss of its epochs', async () => {
  const input = await inputOf(recipes.w4a8);
  const losses: number[] = [];
  const onProgress = ({ loss }: { loss?: number }) => void losses.push(loss as number);
  const learned = await learnEndToEnd(runtime, input, { ...options, onProgress });
  expect(learned.losses).toEqual([mean(losses.slice(0, 2)), mean(losses.slice(2))]);
});
