/**
 * GPTQ: weights rounded so that the errors of a linear's columns cancel on the inputs that it gets; where it adds to the residual stream,
 * on those beside which the stream is small more than on others (`countsBeside`).
 *
 * Layer by layer, over the hidden states that the quantized layers before it put out; within a layer q, k, v → o → w1, w3 → w2,
 * each seeing what the rounded ones before it make of them. On request also over the float model's hidden states: what earlier rounding
 * did to a linear's inputs, and to the stream that it adds to, its weights then partly make up for. Rows know of each other where `outputs` says
 * what their errors cost together.
 */
import { floatReading, rowsOf, simulatedReading, type Weights } from '@mobilequant/core';
import {
  dequantize,
  type Encoding,
  encodingFromRanges,
  type QuantizerSpec,
  quantize,
  type Ranges,
  resolveRecipe,
  siteInLayer,
  type UnsignedLevels,
} from '@mobilequant/quantizer';
import { type Executor, programCache, type Value } from '@mobilequant/tracer';
import { checkSamples } from './check-samples.ts';
import { clipByError } from './clip-by-error.ts';
import { descend } from './descend.ts';
import { addInputs, emptyHessian, type Feedback, type FeedbackOptions, feedbackOf, wholeHessian } from './hessian.ts';
import { hiddenStream } from './hidden-stream.ts';
import { addDrift, type Drift, makeUpForDrift, noDrift } from './make-up-for-drift.ts';
import { type OnProgress, progressOf } from './progress.ts';
import { type QuantizeInput, quantizeModel } from './quantize-model.ts';
import { type RoundedLevels, roundWithFeedback, unrounded } from './round-with-feedback.ts';
import { countsBeside, streamOf } from './token-counts.ts';

export interface GptqInput extends QuantizeInput {
  /** Token ids, each a text of its own; samples of equal length share graphs. */
  readonly samples: readonly Int32Array[];
  /** What errors in a linear's outputs cost together, by its weight's full name (`collectOutputHessians`). Others' rows are rounded one by one. */
  readonly outputs?: ReadonlyMap<string, Value>;
}

export interface GptqOptions {
  /** Added to the diagonal of each Hessian, as a part of its mean. Default 0.01. */
  readonly damping?: number;
  /** The same for those of outputs, of which gradients say less. Default 0.05. */
  readonly outputDamping?: number;
  /**
   * How much of the errors in its inputs, and in the residual stream that it adds to, a linear is to make up for (`makeUpForDrift`): 0 (GPTQ
   * as published; the default) to 1. Anything above 0 is one more pass through the model, and wants many more tokens than a linear has inputs.
   */
  readonly correction?: number;
  /** Columns that are worked on at once. Default 128. */
  readonly block?: number;
  /** Values of a linear's inputs, of all samples, up to which they are kept for what comes behind it; more are computed again. Default 2^26 (256 MB). */
  readonly kept?: number;
  /** Times that every integer is decided again after GPTQ's rounding, at most (`descend`). Default 0. */
  readonly sweeps?: number;
  /** `nearest` chooses scales by error too, but rounds without feedback or correction, for comparison. Default `gptq`. */
  readonly rounding?: 'gptq' | 'nearest';
  /** Keep what the weights were before they were rounded, a byte more for each. Default false: `unrounded` is then the rounded weights. */
  readonly fractions?: boolean;
  readonly onProgress?: OnProgress;
  /** Looked at before each sample, and before each weight is rounded; an aborted one throws its reason. */
  readonly signal?: AbortSignal;
}

/** What `quantizeModel` takes, with weights that lie on the grids that it makes of `clipping`. */
export interface GptqResult extends Required<QuantizeInput> {
  /** The weights before their rounding, to a 256th of a step: to nearest they round to `weights`. What is learned of rounding starts from them. */
  readonly unrounded: Weights;
}

/** A Hessian in the forms that rounding takes: whole where integers are decided again. */
interface Known {
  readonly feedback: Feedback;
  readonly whole?: Float32Array;
}

interface Stage {
  readonly modules: readonly string[];
  /** Whether the block can go on from this input alone. */
  readonly cut: boolean;
}

/** Outputs that are worked on at once. */
const OUTPUT_BLOCK = 64;

/** Linears that have one input, in the order in which values pass them. */
const STAGES: readonly Stage[] = [
  { modules: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], cut: false },
  { modules: ['self_attn.o_proj'], cut: true },
  { modules: ['mlp.w1', 'mlp.w3'], cut: false },
  { modules: ['mlp.w2'], cut: true },
];

/**
 * Rounds the quantized linears of all layers. What a weight keeps is what `clipping` says, or else chosen by what is left of the error.
 *
 * @throws RecipeError when a site of the recipe has no range, RangeError without samples, for a damping that is not 0 or more and a correction
 *   outside 0 … 1, before anything is computed; NonFiniteError for inputs or gradients that are not finite.
 */
export async function gptq(
  executor: Executor,
  { samples, outputs, ...input }: GptqInput,
  {
    damping = 0.01,
    outputDamping = 0.05,
    correction = 0,
    block = 128,
    kept = 2 ** 26,
    sweeps = 0,
    rounding = 'gptq',
    fractions = false,
    onProgress,
    signal,
  }: GptqOptions = {},
): Promise<GptqResult> {
  checkSamples(samples, 'gptq');
  checkWithin('damping', damping, Infinity);
  checkWithin('outputDamping', outputDamping, Infinity);
  checkWithin('correction', correction, 1);
  const { config, recipe } = input;
  const resolve = resolveRecipe(recipe);
  const { model } = await quantizeModel(input);
  const rounded = new Map<string, Rounded>();
  const weights = withRounded(input.weights, rounded, onGrid);
  const programs = programCache(executor);
  const progress = progressOf('gptq', config.layers, onProgress);
  const corrects = rounding === 'gptq' && correction > 0;
  const tokens = samples.reduce((sum, { length }) => sum + length, 0);

  const simulated = simulatedReading(withoutLinears(model.encodings));
  const quantized = await hiddenStream(programs, config, weights, simulated, samples);
  const float = corrects && (await hiddenStream(programs, config, input.weights, floatReading, samples));

  try {
    for (let layer = 0; layer < config.layers; layer++) {
      for (const { modules, cut } of STAGES) {
        const sites = modules.flatMap((module) => {
          const site = `model.layers.${layer}.${module}.weight`;
          const spec = weights.has(site) && resolve(site);
          return spec ? [{ site, spec }] : [];
        });
        if (sites.length === 0) continue;
        const { hessian, drift } = await observe(layer, modules[0] as string, cut);
        const inputs = await known(hessian, { damping, block });
        for (const { site, spec } of sites) rounded.set(site, await round(site, spec, inputs, drift));
      }
      await quantized.pass(layer);
      if (float) await float.pass(layer);
      progress.step();
    }
  } finally {
    await programs.release();
  }
  const chosen = [...rounded].map(([site, { ranges }]) => [site, ranges] as const);
  const clipping = new Map([...(input.clipping ?? []), ...chosen]);
  return { ...input, weights, clipping, unrounded: withRounded(input.weights, rounded, realsOf) };

  /** The Hessian of what all samples have at a linear's input, and how far that, and the stream, are from the float model's. */
  async function observe(layer: number, module: string, cut: boolean): Promise<{ hessian: Value; drift?: Drift }> {
    const [at, floatAt] = [await quantized.sites(layer), float && (await float.sites(layer))];
    const site = `${module}.input`;
    const stream = streamOf(module, config);
    const channels = weights.shape(`model.layers.${layer}.${module}.weight`)[1] as number;
    const hessian = emptyHessian(channels);
    const drift = floatAt && {
      inputs: noDrift(channels, channels),
      ...(stream?.before && { stream: noDrift(config.hidden, channels) }),
    };
    const keep = cut && channels * tokens <= kept ? site : undefined;
    const last = module === 'mlp.w2'; // what is behind it depends on no rounding, in the float model
    const sites = [site, ...(stream?.before ? [stream.before] : [])];
    for (const i of samples.keys()) {
      signal?.throwIfAborted();
      const own = await at(i, [...sites, ...(stream ? [stream.behind] : [])], { keep });
      const inputs = own(site);
      const counts = stream && countsBeside(own(stream.behind), config.normEpsilon);
      await addInputs(programs, hessian, inputs, counts);
      if (!drift) continue;
      const float = await floatAt(i, sites, { keep, goesOn: last });
      await addDrift(programs, drift.inputs, { float: float(site), own: inputs, inputs, counts });
      if (!stream?.before || !drift.stream) continue;
      const streams = { float: float(stream.before), own: own(stream.before) };
      await addDrift(programs, drift.stream, { ...streams, inputs, counts });
    }
    return { hessian, ...(drift && { drift }) };
  }

  async function round(site: string, spec: QuantizerSpec, inputs: Known, drift?: Drift): Promise<Rounded> {
    signal?.throwIfAborted();
    const { feedback } = inputs;
    const own: Value = { data: await input.weights.read(site), shape: weights.shape(site) };
    const weight = drift ? await makeUpForDrift(programs, own, drift, feedback, correction) : own;
    const importance = rounding === 'gptq' ? feedback.pivots : feedback.diagonal;
    const ranges = input.clipping?.get(site) ?? clipByError(weight, spec, importance, site);
    const { encoding } = encodingFromRanges(ranges, spec, { site });
    if (rounding === 'nearest') {
      const levels = quantize(weight.data as Float32Array, encoding, { site });
      return { levels, encoding, ranges };
    }
    const cost = outputs?.get(site);
    const together =
      cost &&
      (await known(cost, { damping: outputDamping, block: OUTPUT_BLOCK, of: `gradients in the outputs of ${site}` }));
    const levels = await roundWithFeedback(programs, weight, encoding, feedback, together?.feedback);
    const first = { ...levels, encoding, ranges };
    const scales = !input.clipping?.has(site);
    const { whole: h } = inputs;
    const found = h ? await descend(programs, weight, { h, g: together?.whole }, first, { sweeps, scales }) : first;
    return fractions ? found : { levels: found.levels, encoding: found.encoding, ranges: found.ranges };
  }

  async function known(hessian: Value, options: FeedbackOptions): Promise<Known> {
    const feedback = await feedbackOf(programs, hessian, options);
    return { feedback, ...(sweeps > 0 && { whole: wholeHessian(hessian, feedback) }) };
  }
}

function checkWithin(option: string, value: number, most: number): void {
  const range = most === Infinity ? '0 or more' : `0 to ${most}`;
  if (!(value >= 0 && value <= most && Number.isFinite(value)))
    throw new RangeError(`gptq, ${option}: expected ${range}, got ${value}.`);
}

/** A weight as integers: less memory, and the same reals whenever they are asked for. */
interface Rounded extends Partial<RoundedLevels> {
  readonly levels: UnsignedLevels;
  readonly encoding: Encoding;
  readonly ranges: Ranges;
}

/** Here, and not in `gptq`: a closure of its would hold all hidden states for as long as the weights are held. */
const onGrid = ({ levels, encoding }: Rounded): Float32Array => dequantize(levels, encoding);

/** What a weight was before it was rounded, as far as that was kept. */
const realsOf = ({ levels, fractions, encoding }: Rounded): Float32Array =>
  fractions ? unrounded({ levels, fractions }, encoding) : dequantize(levels, encoding);

const withRounded = (
  weights: Weights,
  rounded: ReadonlyMap<string, Rounded>,
  reals: (own: Rounded) => Float32Array,
): Weights => ({
  names: () => weights.names(),
  has: (name) => weights.has(name),
  shape: (name) => weights.shape(name),
  async read(name) {
    const own = rounded.get(name);
    return own ? reals(own) : weights.read(name);
  },
  async readRows(name, rows) {
    const own = rounded.get(name);
    return own ? rowsOf(reals(own), weights.shape(name)[1] as number, rows) : weights.readRows(name, rows);
  },
});

/** Encodings of everything but the layers' linears, whose weights lie on their grids when they are used. */
function withoutLinears(encodings: ReadonlyMap<string, Encoding>): Map<string, Encoding> {
  const linears = new Set(STAGES.flatMap(({ modules }) => modules.map((module) => `${module}.weight`)));
  return new Map([...encodings].filter(([site]) => !linears.has(siteInLayer(site))));
}
