/**
 * Writes a model in the form in which the reference implementation has its own. Encodings have no place there: what is written are
 * ranges that make them again, and weights that reach as far as theirs.
 */
import {
  type Checkpoint,
  type JsonObject,
  type JsonValue,
  type StoredFloat,
  writeCheckpoint,
} from '@mobilequant/checkpoint/node';
import {
  type DecoderConfig,
  decoderTensors,
  type FloatModel,
  parseConfig,
  type QuantizedModel,
  siteOfTensor,
  type Weights,
} from '@mobilequant/core';
import {
  decoderSites,
  type Encoding,
  type Encodings,
  encodingFromRanges,
  exactRange,
  type Range,
  type ReferenceConfig,
  type ReferenceSiteConfig,
  rangesOf,
  recipeFromReferenceConfig,
  referenceConfigFromRecipe,
  referenceFromRanges,
  resolveRecipe,
  splitSite,
} from '@mobilequant/quantizer';
import { RANGES_FILE, SETTINGS_FILE } from './read-reference.ts';
import { ReferenceFormError, referenceConfig } from './reference-config.ts';

/** What a model in the reference's form is written from. */
export interface WriteReferenceInput {
  /** Float, unless there are a recipe and encodings. */
  readonly model: FloatModel & Partial<QuantizedModel>;
  readonly from: Pick<Checkpoint, 'directory' | 'config'> & Partial<Pick<Checkpoint, 'companions'>>;
  readonly dtype: StoredFloat;
  readonly dtypeOf?: (name: string) => StoredFloat;
  readonly maxShardBytes?: number;
}

/**
 * Writes a model as the reference implementation has its own, float or quantized. It loads here with the same encodings, bit for bit.
 *
 * @returns quantized sites for which the reference has no quantizer: it would leave them in float.
 * @throws ReferenceFormError for a switch, a bias or an encoding that these files cannot say. Nothing is written then.
 */
export async function writeReference(directory: string, input: WriteReferenceInput): Promise<readonly string[]> {
  const { model, from, dtype, dtypeOf, maxShardBytes } = input;
  const { json, files } = writtenFiles(model, from.config);
  const weights = await writtenWeights(parseConfig(json), model);
  await writeCheckpoint(directory, {
    from: { ...from, config: json },
    weights,
    dtype,
    ...(dtypeOf && { dtypeOf }),
    ...(maxShardBytes !== undefined && { maxShardBytes }),
    json: files?.json ?? {},
  });
  return files?.passedOver ?? [];
}

/** What is written beside weights: the config, and of a quantized model the two other files. */
function writtenFiles({ config, weights, recipe, encodings }: WriteReferenceInput['model'], original: JsonObject) {
  const said: DecoderConfig = {
    ...config,
    tiedEmbeddings: !weights.has('lm_head.weight'),
    biases: [...config.biases, ...biasedModules(weights)],
  };
  const json = referenceConfig(said, original);
  if (!recipe || !encodings) return { json };
  const files = quantizationFiles({ config, weights, recipe, encodings });
  if (config.activation !== 'gelu-tanh') return { json, files };
  const site = [...encodings.keys()].find((name) => name.includes('.act_fn.'));
  if (site !== undefined) {
    const advice = 'It quantizes the exact GELU and SiLU only; use a paper recipe.';
    throw new ReferenceFormError(site, 'no encoding, as the reference has no quantizer there', 'one', advice);
  }
  return { json: { ...json, hidden_act: 'gelu_new' }, files };
}

/** The modules that have a bias, in any layer. */
const biasedModules = (weights: Weights): string[] =>
  weights.names().flatMap((name) => /^(?:model\.layers\.\d+\.)?(.+)\.bias$/.exec(name)?.[1] ?? []);

/** The tensors that the reference has: biases of whole groups of linears, none of root-mean-square norms, weights within their encodings. */
async function writtenWeights(
  said: DecoderConfig,
  { weights, encodings }: WriteReferenceInput['model'],
): Promise<Pick<Weights, 'names' | 'shape' | 'read'>> {
  const shapes = new Map<string, readonly number[]>();
  const known = new Set<string>();
  for (const { name, shape, optional } of decoderTensors(said)) {
    known.add(name);
    if (!weights.has(name) && optional) continue;
    if (optional && name.endsWith('.bias')) await checkZero(name, weights);
    else shapes.set(name, shape);
  }
  const other = weights.names().find((name) => !known.has(name));
  if (other !== undefined) {
    const advice = 'The reference implementation would leave it out.';
    throw new ReferenceFormError(other, 'only tensors of its decoder', `'${other}'`, advice);
  }
  return {
    names: () => [...shapes.keys()],
    shape: (name) => shapes.get(name) as readonly number[],
    async read(name) {
      const shape = shapes.get(name) as readonly number[];
      if (!weights.has(name)) return new Float32Array(shape[0] as number); // a bias that others in its group have
      const data = await weights.read(name);
      const site = siteOfTensor(weights, name);
      const encoding = encodings?.get(site);
      return encoding ? clipped(data, shape, encoding, name, site) : data;
    },
  };
}

async function checkZero(name: string, weights: Weights): Promise<void> {
  if ((await weights.read(name)).every((x) => x === 0)) return;
  const advice = 'Learn without shifts.';
  throw new ReferenceFormError(name, 'no bias, which its module does not have', 'one', advice);
}

/** A weight whose own ranges make its encoding again: what the encoding clips is clipped. */
function clipped(
  data: Float32Array,
  shape: readonly number[],
  { spec, scale, zeroPoint }: Encoding,
  name: string,
  site: string,
): Float32Array {
  const { min, max } = rangesOf(data, shape, spec.granularity, { site });
  const made = encodingFromRanges({ min, max }, spec, { site }).encoding;
  const length = data.length / scale.length;
  let result = data;
  for (const [g, s] of scale.entries()) {
    const z = zeroPoint[g] as number;
    if (made.scale[g] === s && made.zeroPoint[g] === z) continue;
    const range = exactRange(spec, s, z, { min: min[g] as number, max: max[g] as number });
    if (!range || name !== site) {
      const advice = 'The reference takes it from the weights.'; // and an embedding is looked up too, so it is not clipped
      throw new ReferenceFormError(site, `the scale that its values make, ${made.scale[g]}`, `${s}`, advice);
    }
    if (result === data) result = data.slice();
    for (let i = g * length; i < (g + 1) * length; i++) {
      result[i] = Math.min(Math.max(data[i] as number, range.min), range.max);
    }
  }
  return result;
}

/** What `QuantizedModel` says beyond a float one, in the reference's two files. */
function quantizationFiles({ config, recipe, encodings }: QuantizedModel): {
  readonly json: Readonly<Record<string, JsonValue>>;
  readonly passedOver: readonly string[];
} {
  const rules = [...encodings].map(([site, { spec }]) => ({ site, spec }));
  const settings = referenceConfigFromRecipe({ ...recipe, rules }, config);
  checkSettings(settings, encodings);
  const ranges = new Map<string, Range>();
  for (const [site, { spec, scale, zeroPoint }] of encodings) {
    if (splitSite(site).port === 'weight') continue;
    const range = exactRange(spec, scale[0] as number, zeroPoint[0] as number);
    if (!range) {
      const advice = 'It was chosen otherwise than by a range.';
      throw new ReferenceFormError(site, 'the scale of a range', `${scale[0]}`, advice);
    }
    ranges.set(site, range);
  }
  const quantizers = referenceQuantizers(config);
  const off = quantizers.filter((site) => !encodings.has(site));
  for (const site of off) if (splitSite(site).port !== 'weight') ranges.set(site, { min: 0, max: 0 }); // asked for, and not looked at
  const known = new Set(quantizers);
  return {
    json: {
      [SETTINGS_FILE]: withOff(settings, off) as unknown as JsonValue,
      [RANGES_FILE]: referenceFromRanges(ranges) as unknown as JsonValue,
    },
    passedOver: [...encodings.keys()].filter((site) => !known.has(site)),
  };
}

/** Settings are those of the specs when they are read again. */
function checkSettings(settings: ReferenceConfig, encodings: Encodings): void {
  const resolve = resolveRecipe(recipeFromReferenceConfig(settings, 'reference'));
  for (const [site, { spec }] of encodings) {
    const read = resolve(site);
    const [received, expected] = [spec, read].map(
      (given) => given && JSON.stringify([given.bits, given.symmetric, given.granularity]),
    );
    if (received === expected) continue;
    const advice = 'The reference’s settings cannot say it.';
    throw new ReferenceFormError(site, expected ?? 'nothing', received as string, advice);
  }
}

const LINEAR_INPUT = /\.(self_attn\.\w_proj|mlp\.w[13]|mlp\.act_fn)\.input$/;

/** The sites at which the reference has quantizers; it wants settings and ranges of all of them. */
const referenceQuantizers = (config: DecoderConfig): string[] =>
  decoderSites(config).filter((site) => {
    if (!site.startsWith('model.layers.') || LINEAR_INPUT.test(site)) return false;
    return config.activation !== 'gelu-tanh' || !site.includes('.act_fn.');
  });

const OFF = { bitwidth: '32', group_size: '-1', is_dynamic: 'False', is_per_channel: 'False', is_symmetric: 'False' };

function withOff(settings: ReferenceConfig, sites: readonly string[]): ReferenceConfig {
  const all: Record<string, Record<string, ReferenceSiteConfig>> = Object.fromEntries(
    Object.entries(settings).map(([module, its]) => [module, { ...its }]),
  );
  for (const site of sites) {
    const { module, port } = splitSite(site);
    all[module] = { ...all[module], [port]: OFF };
  }
  return all;
}
