/**
 * What tuning moves of a quantized model, and the model that comes of it. Nothing here costs a device anything. Integers stay unless
 * their rounding is learned too.
 *
 *     <weight site>.gain           θ   scale · exp(θ) of a linear, for each of its scales: q · scale · exp(θ) stays on the grid
 *     <norm>.weight.gain           θ   weight · exp(θ), per channel
 *     <linear>.bias                β   bias + 0.2 ‖row‖ · β, per output channel
 *     <activation site>.low, .high     log factors on the two ends of a range (a symmetric one has `high` alone)
 *     <weight site>.up, .down          what moves the integers of a linear (`learned-rounding.ts`)
 *
 * Names are full (`model.layers.0.mlp.w1.weight.gain`). All but `down` start at 0, which is the model that came in, bit for bit. So every
 * step of tuning has a whole `QuantizedModel`, and what is trained is what is stored.
 */
import {
  type DerivedTensor,
  deriveWeights,
  headName,
  layerTensorNames,
  type Part,
  type QuantizedModel,
  siteName,
} from '@mobilequant/core';
import { dequantize, type Encoding, quantize, type SignedLevels, splitSite } from '@mobilequant/quantizer';
import { type Executor, programCache, type Values } from '@mobilequant/tracer';
import type { Tree } from './adamw.ts';
import { movedLevels, noMoves } from './learned-rounding.ts';
import { hashOf, hashOfIntegers } from './learning.ts';

/** What to tune. */
export interface TuningTargets {
  /** Scales of the layers' quantized linears. */
  readonly scales: boolean;
  /** Weights of all norms, the final one too. */
  readonly norms: boolean;
  /** A bias for each linear of the layers. */
  readonly biases: boolean;
  /** Ranges of activations that are not known beforehand. */
  readonly ranges: boolean;
  /** Scales and biases of the head too. A head that is the embedding becomes a matrix of its own. */
  readonly head: boolean;
  /** Integers of the layers' quantized linears, moved by matrices of so high a rank; 0: they stay. */
  readonly rounding: number;
}

/** A parameter of one part of the model, as the part's graph has it. */
export interface TunedInput {
  /**
   * In the part: `mlp.w1.weight.gain` (a factor, 1 at any point), `mlp.w1.bias`, `mlp.w1.weight.up`, `mlp.w1.weight.down`,
   * `mlp.w2.input.scale`, `mlp.w2.input.offset`.
   */
  readonly name: string;
  readonly shape: readonly number[];
}

export interface Tunable {
  /** Parameters at their starting point. */
  start(): Record<string, Float32Array>;
  /** The model that parameters stand for; weights are computed when they are read. */
  model(parameters: Tree): QuantizedModel;
  /** What a part's graph is differentiated by. */
  inputs(part: Part): readonly TunedInput[];
  /** Those of them whose values the graph cannot know: what moves the integers. */
  values(parameters: Tree, part: Part): Values;
  /** Gradients in the parameters, from those in the inputs (under full names). */
  gradients(parameters: Tree, inputs: Tree): Record<string, Float32Array>;
  /** What tells the model's integers from others. */
  fingerprint(): string;
}

const BIAS_UNIT = 0.2; // of a row's norm: what moves a bias is then about as large as what moves a scale

interface Linear {
  readonly site: string;
  readonly module: string;
  readonly shape: readonly [rows: number, columns: number];
  /** Where the model has its weight. */
  readonly name: string;
  readonly bias: Float32Array | undefined;
  readonly levels: SignedLevels | undefined;
  /** How high the rank is of what moves them; 0: they stay. */
  readonly rank: number;
  readonly encoding: Encoding | undefined;
  /** `[rows]` */
  readonly unit: Float32Array;
}

interface Norm {
  readonly site: string;
  readonly weight: Float32Array;
}

/** A model's integers, taken once, and what may move around them. Where rounding is learned, its weights are those before rounding. */
export async function tunable(executor: Executor, base: QuantizedModel, targets: TuningTargets): Promise<Tunable> {
  const { weights, encodings } = base;
  const programs = programCache(executor);
  const linears: Linear[] = [];
  const norms: Norm[] = [];
  for (let layer = 0; layer < base.config.layers; layer++) {
    for (const own of layerTensorNames(weights, layer)) {
      if (own.endsWith('.weight')) await add(siteName(layer, own), siteName(layer, own));
    }
  }
  await add('model.norm.weight', 'model.norm.weight');
  if (targets.head) await add('lm_head.weight', headName(weights));
  const ranges = targets.ranges
    ? [...encodings].filter(([site, { spec }]) => splitSite(site).port !== 'weight' && !spec.range)
    : [];

  async function add(site: string, name: string): Promise<void> {
    const shape = weights.shape(name);
    if (shape.length === 1) {
      norms.push({ site, weight: await weights.read(name) });
      return;
    }
    const { module } = splitSite(site);
    const encoding = encodings.get(site);
    const levels = encoding && quantize(await weights.read(name), encoding, { signed: true, site });
    const real = levels ? dequantize(levels, encoding) : await weights.read(name);
    const bias = weights.has(`${module}.bias`) ? await weights.read(`${module}.bias`) : undefined;
    const [rows, columns] = shape as [number, number];
    const unit = unitsOf(real, columns);
    const rank = encoding && site.startsWith('model.layers.') ? targets.rounding : 0;
    linears.push({ site, module, name, shape: [rows, columns], bias, levels, rank, encoding, unit });
  }

  const start = (): Record<string, Float32Array> => {
    const zeros: Record<string, Float32Array> = {};
    for (const [i, { site, module, encoding, shape, rank }] of linears.entries()) {
      if (targets.scales && encoding) zeros[`${site}.gain`] = new Float32Array(encoding.scale.length);
      if (targets.biases) zeros[`${module}.bias`] = new Float32Array(shape[0]);
      if (rank === 0) continue;
      const { up, down } = noMoves(shape, rank, i);
      zeros[`${site}.up`] = up;
      zeros[`${site}.down`] = down;
    }
    if (targets.norms) for (const { site, weight } of norms) zeros[`${site}.gain`] = new Float32Array(weight.length);
    for (const [site, { spec }] of ranges) {
      if (!spec.symmetric) zeros[`${site}.low`] = new Float32Array(1);
      zeros[`${site}.high`] = new Float32Array(1);
    }
    return zeros;
  };

  const model = (parameters: Tree): QuantizedModel => {
    const tensors = new Map<string, DerivedTensor>();
    const tuned = new Map(encodings);
    const put = (name: string, values: Float32Array): void => {
      tensors.set(name, { shape: [values.length], read: async () => values });
    };
    for (const { site, module, name, shape, bias, levels, encoding, unit } of linears) {
      if (levels && encoding) {
        const grid = { ...encoding, scale: scaled(encoding.scale, parameters[`${site}.gain`]) };
        const { [`${site}.up`]: up, [`${site}.down`]: down } = parameters;
        const its = async (): Promise<SignedLevels> =>
          up && down
            ? movedLevels(programs, { data: await weights.read(name), shape }, encoding, { up, down })
            : levels;
        tuned.set(site, grid);
        tensors.set(site, {
          shape,
          read: async () => dequantize(await its(), grid),
          readRows: async (rows) => rowsOfLevels(await its(), grid, shape[0], rows),
        });
      }
      const steps = parameters[`${module}.bias`];
      if (steps) {
        put(
          `${module}.bias`,
          steps.map((step, i) => (bias?.[i] ?? 0) + (unit[i] as number) * step),
        );
      }
    }
    for (const { site, weight } of norms) {
      const moved = scaled(weight, parameters[`${site}.gain`]);
      put(site, moved);
      const encoding = encodings.get(site);
      if (encoding) tuned.set(site, { ...encoding, scale: encoding.scale.map((s) => s * growth(weight, moved)) });
    }
    for (const [site, encoding] of ranges) tuned.set(site, movedRange(encoding, endsOf(site, parameters)).encoding);
    const config = tensors.has('lm_head.weight') ? { ...base.config, tiedEmbeddings: false } : base.config;
    return { ...base, config, weights: deriveWeights(weights, tensors), encodings: tuned };
  };

  const inputs = (part: Part): TunedInput[] => {
    const prefix = part === 'head' ? '' : siteName(part, '');
    const mine = (site: string) => (part === 'head' ? !site.startsWith('model.layers.') : site.startsWith(prefix));
    const own = (name: string, shape: readonly number[]): TunedInput => ({ name: name.slice(prefix.length), shape });
    return [
      ...linears.flatMap(({ site, module, encoding, shape: [rows, columns], rank }) => [
        ...(mine(site) && targets.scales && encoding ? [own(`${site}.gain`, gainShape(encoding))] : []),
        ...(mine(site) && targets.biases ? [own(`${module}.bias`, [rows])] : []),
        ...(mine(site) && rank > 0 ? [own(`${site}.up`, [rows, rank]), own(`${site}.down`, [rank, columns])] : []),
      ]),
      ...norms.flatMap(({ site, weight }) =>
        mine(site) && targets.norms ? [own(`${site}.gain`, [weight.length])] : [],
      ),
      ...ranges.flatMap(([site, { spec }]) =>
        mine(site) ? [own(`${site}.scale`, []), ...(spec.symmetric ? [] : [own(`${site}.offset`, [])])] : [],
      ),
    ];
  };

  const values = (parameters: Tree, part: Part): Values =>
    Object.fromEntries(
      inputs(part).flatMap(({ name, shape }) => {
        const data = isMove(name) ? parameters[siteName(part, name)] : undefined;
        return data ? [[name, { data, shape }]] : [];
      }),
    );

  const gradients = (parameters: Tree, inputs: Tree): Record<string, Float32Array> => {
    const result: Record<string, Float32Array> = {};
    for (const [name, gradient] of Object.entries(inputs))
      if (name.endsWith('.gain') || isMove(name)) result[name] = gradient;
    for (const { module, unit } of linears) {
      const gradient = inputs[`${module}.bias`];
      if (gradient) result[`${module}.bias`] = gradient.map((g, i) => g * (unit[i] as number));
    }
    for (const [site, encoding] of ranges) {
      const { dScale, dOffset } = movedRange(encoding, endsOf(site, parameters));
      const [scale, offset] = [inputs[`${site}.scale`]?.[0] ?? 0, inputs[`${site}.offset`]?.[0] ?? 0];
      if (!encoding.spec.symmetric) result[`${site}.low`] = Float32Array.of(scale * dScale.low + offset * dOffset.low);
      result[`${site}.high`] = Float32Array.of(scale * dScale.high + offset * dOffset.high);
    }
    return result;
  };

  const fingerprint = (): string => hashOf(linears.map(({ levels }) => levels && hashOfIntegers(levels)));

  return { start, model, inputs, values, gradients, fingerprint };
}

/** Whether a parameter moves integers. */
const isMove = (name: string): boolean => name.endsWith('.up') || name.endsWith('.down');

/** Some rows of a matrix of so many, one after another. */
function rowsOfLevels(levels: SignedLevels, encoding: Encoding, count: number, rows: ArrayLike<number>): Float32Array {
  const { scale, zeroPoint } = encoding;
  const [columns, groups] = [levels.length / count, scale.length / count];
  const result = new Float32Array(rows.length * columns);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    const own = levels.subarray(row * columns, (row + 1) * columns);
    const [from, to] = [row * groups, (row + 1) * groups];
    const its =
      scale.length === 1
        ? encoding
        : { ...encoding, scale: scale.slice(from, to), zeroPoint: zeroPoint.slice(from, to) };
    result.set(dequantize(own, its), i * columns);
  }
  return result;
}

/** 0.2 times the length of each row. */
function unitsOf(w: Float32Array, columns: number): Float32Array {
  return Float32Array.from({ length: w.length / columns }, (_, row) => {
    let squares = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) squares += (w[i] as number) ** 2;
    return BIAS_UNIT * Math.sqrt(squares);
  });
}

const scaled = (values: Float32Array, logs: Float32Array | undefined): Float32Array =>
  logs ? values.map((value, i) => value * Math.exp(logs[i] as number)) : values;

/** Rows of a product take a factor each, or all the same; groups take theirs at the weight, `[groups, 1]`. */
const gainShape = ({ spec, scale }: Encoding): number[] => {
  if (spec.granularity.kind === 'tensor') return [];
  return spec.granularity.kind === 'group' ? [scale.length, 1] : [scale.length];
};

/** How much a grid must grow so that what lay within it still does. */
function growth(before: Float32Array, after: Float32Array): number {
  let [low, high, lowest, highest] = [0, 0, 0, 0];
  for (let i = 0; i < before.length; i++) {
    const [x, y] = [before[i] as number, after[i] as number];
    [low, high] = [Math.min(low, x), Math.max(high, x)];
    [lowest, highest] = [Math.min(lowest, y), Math.max(highest, y)];
  }
  return Math.max(1, low < 0 ? lowest / low : 1, high > 0 ? highest / high : 1);
}

interface Ends {
  readonly low: number;
  readonly high: number;
}

const endsOf = (site: string, parameters: Tree): Ends => ({
  low: parameters[`${site}.low`]?.[0] ?? 0,
  high: parameters[`${site}.high`]?.[0] ?? 0,
});

/** An activation's encoding with its ends moved by log factors, and how scale and (fractional) zero point move with them. */
function movedRange(
  { spec, scale, zeroPoint }: Encoding,
  ends: Ends,
): { readonly encoding: Encoding; readonly dScale: Ends; readonly dOffset: Ends } {
  const [s, z, top] = [scale[0] as number, zeroPoint[0] as number, 2 ** spec.bits - 1];
  if (spec.symmetric) {
    const moved = s * Math.exp(ends.high);
    const encoding = { spec, scale: Float32Array.of(moved), zeroPoint };
    return { encoding, dScale: { low: 0, high: moved }, dOffset: { low: 0, high: 0 } };
  }
  const below = z * Math.exp(ends.low); // steps of s, not of the moved scale
  const above = (top - z) * Math.exp(ends.high);
  const moved = (s * (below + above)) / top;
  const offset = (s * below) / moved;
  const dScale = { low: (s * below) / top, high: (s * above) / top };
  return {
    encoding: { spec, scale: Float32Array.of(moved), zeroPoint: Int32Array.of(Math.round(offset)) },
    dScale,
    dOffset: { low: offset - (offset * dScale.low) / moved, high: -(offset * dScale.high) / moved },
  };
}
