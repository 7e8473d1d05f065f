/**
 * What the rounding of a site costs, measured where it counts: the divergence of the logits, KL(float ‖ float with this site rounded).
 *
 * Sites are rounded alone, on the float model. So they can be compared with each other and, since such small errors nearly add up, summed;
 * and a text goes through the float model once: for a site in layer 7 only the layers from 7 on are run again, from the states before it.
 * The other way round, a site is left in float in the model in which all others are rounded.
 */
import {
  createDecoder,
  type FloatModel,
  headRows,
  headShapes,
  logits,
  type Part,
  type Reading,
  readHead,
  simulatedReading,
} from '@mobilequant/core';
import type { Encodings } from '@mobilequant/quantizer';
import { type Executor, programCache } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import { divergence } from './divergence.ts';
import { type OnProgress, progressOf } from './progress.ts';

export interface SiteDivergenceInput extends FloatModel {
  /** How the sites are rounded; others may be among them. */
  readonly encodings: Encodings;
  /** Token ids, each a text of its own; some hundred in all suffice to tell sites apart. */
  readonly samples: readonly Int32Array[];
  /** Full names of what is rounded together: a site, or one site of all layers. */
  readonly groups: readonly (readonly string[])[];
}

export interface SiteDivergenceOptions {
  /**
   * The model around a group. `float`: the group alone is rounded. `rounded`: all that has an encoding is rounded, the group alone is not;
   * of an empty group, the divergence of the quantized model. Default `float`.
   */
  readonly around?: 'float' | 'rounded';
  readonly onProgress?: OnProgress;
  /** Looked at before each layer; an aborted one throws its reason. */
  readonly signal?: AbortSignal;
}

/**
 * The mean divergence of each group, in nats a token. In memory are the states before each layer and the logits of one sample.
 *
 * @throws RangeError for a site without an encoding, or without samples, before anything is computed.
 */
export async function siteDivergence(
  executor: Executor,
  { config, weights, encodings, samples, groups }: SiteDivergenceInput,
  { around = 'float', onProgress, signal }: SiteDivergenceOptions = {},
): Promise<number[]> {
  checkSamples(samples, 'siteDivergence');
  const { layers, hidden } = config;
  const float = simulatedReading(new Map()); // its graph of a layer is that of a layer in which no site is rounded
  const base = around === 'float' ? float : simulatedReading(encodings);
  const changes = groups.map((group) => changeOf(group, encodings, layers, around));
  const switched = switchedReading(float);
  const decoder = createDecoder(executor, config, weights, { reading: switched });
  const heads = programCache(executor);
  const own = base === float ? 0 : layers; // of the model around the groups
  const runs = changes.reduce((sum, { first }) => sum + layers - first + 1, layers + 1 + own);
  const progress = progressOf('divergence', samples.length * runs, onProgress);
  const sums = new Array<number>(groups.length).fill(0);

  /** The states before each layer from `first` on, and behind the last. */
  const statesFrom = async (first: number, x: Float32Array): Promise<Float32Array[]> => {
    const states = [x];
    for (let layer = first; layer < layers; layer++) {
      signal?.throwIfAborted();
      states.push(await decoder.block(layer, states.at(-1) as Float32Array));
      progress.step();
    }
    return states;
  };

  /** KL of all rows of x, added up. */
  const divergenceOf = async (reading: Reading, x: Float32Array, target: Float32Array): Promise<number> => {
    const own = { ...(await readHead(weights)), ...reading.values('head') };
    let sum = 0;
    const most = headRows(config);
    for (let from = 0; from * hidden < x.length; from += most) {
      const rows = Math.min(most, x.length / hidden - from);
      const part = (values: Float32Array, columns: number) => ({
        data: values.subarray(from * columns, (from + rows) * columns),
        shape: [rows, columns] as const,
      });
      const program = await heads.program(
        `${rows} ${reading.key('head')}`,
        () => ({
          x: [rows, hidden],
          target: [rows, config.vocab],
          ...headShapes(weights),
          ...reading.inputs('head'),
        }),
        (inputs) => ({
          kl: divergence(inputs.target, logits(inputs.x, inputs, config, reading.tap('head', inputs))),
        }),
      );
      const { kl } = await program.run({ ...own, x: part(x, hidden), target: part(target, config.vocab) });
      for (const value of kl.data as Float32Array) sum += value;
    }
    progress.step();
    return sum;
  };

  try {
    for (const sample of samples) {
      switched.use(float);
      const x = await decoder.embed(sample);
      const inFloat = await statesFrom(0, x);
      const target = await decoder.logits(inFloat[layers] as Float32Array);
      progress.step();
      switched.use(base);
      const before = base === float ? inFloat : await statesFrom(0, x);
      for (const [i, { first, reading }] of changes.entries()) {
        switched.use(reading);
        const behind = (await statesFrom(first, before[first] as Float32Array)).at(-1) as Float32Array;
        sums[i] = (sums[i] as number) + (await divergenceOf(reading, behind, target));
      }
    }
  } finally {
    await decoder.release();
    await heads.release();
  }
  const tokens = samples.reduce((sum, { length }) => sum + length, 0);
  return sums.map((sum) => sum / tokens);
}

/** The first layer that a group changes (that behind the last for the head), and how. */
function changeOf(
  group: readonly string[],
  encodings: Encodings,
  layers: number,
  around: 'float' | 'rounded',
): { first: number; reading: Reading } {
  const missing = group.find((site) => !encodings.has(site));
  if (missing !== undefined)
    throw new RangeError(`siteDivergence: expected an encoding of '${missing}', got none. Name sites of the recipe.`);
  const places = group.map((site) => Number(/^model\.layers\.(\d+)\./.exec(site)?.[1] ?? layers));
  const rounded = [...encodings].filter(([site]) => group.includes(site) === (around === 'float'));
  return { first: Math.min(layers, ...places), reading: simulatedReading(new Map(rounded)) };
}

/** A reading that is now this one, now that one, so that one decoder has the graphs of all. */
function switchedReading(now: Reading): Reading & { use(reading: Reading): void } {
  let current = now;
  return {
    use(reading) {
      current = reading;
    },
    key: (part: Part) => current.key(part),
    inputs: (part) => current.inputs(part),
    values: (part) => current.values(part),
    tap: (part, inputs) => current.tap(part, inputs),
  };
}
