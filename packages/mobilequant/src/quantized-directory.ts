/**
 * A quantized model as a directory: a Hugging Face model directory with the transformed float weights, the same function as the
 * model that it comes from, and `quantization.json`: which sites are quantized, with which scales and zero points, and how that came about.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Tuned } from '@mobilequant/calibration';
import {
  type Checkpoint,
  type JsonValue,
  openCheckpoint,
  readJsonIfThere,
  writeCheckpoint,
} from '@mobilequant/checkpoint/node';
import {
  checkedWeights,
  checkpointForm,
  type DecoderConfig,
  type FloatModel,
  fromCheckpoint,
  parseConfig,
  type QuantizedModel,
  siteOfTensor,
  toCheckpoint,
} from '@mobilequant/core';
import {
  decoderSites,
  encodingsFromJson,
  encodingsToJson,
  groupCount,
  parseRecipe,
  recipeToJson,
  resolveRecipe,
} from '@mobilequant/quantizer';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';
import { isReference, RANGES_FILE, readReference, SETTINGS_FILE } from './read-reference.ts';
import { toolVersion } from './version.ts';

/** The file beside `config.json`. */
export const QUANTIZATION_FILE = 'quantization.json';

const FORMAT = 1; // of quantization.json

/** How a quantized model was made. */
export interface Provenance {
  /** The float model's name. */
  readonly source: string;
  readonly method: string;
  /** What the method was told. */
  readonly options: Readonly<Record<string, JsonValue>>;
  /** Activation sites whose range had to be widened to contain zero. */
  readonly widened: readonly string[];
  /** How far the model was from the float one while it was tuned, and the step that was kept. */
  readonly tuning?: Pick<Tuned, 'evaluations' | 'step'>;
}

/** Bytes of a model's tensors. */
export interface ModelSizes {
  /** In float32. */
  readonly float: number;
  /** With quantized weights packed at their bits, scales and whatever stays float in float32. */
  readonly quantized: number;
}

/**
 * Writes a quantized model, as a whole or not at all. Gemma's norm weights are stored less one: those below a half, which scales may
 * have made, lose what float32 does not hold of that, 2^-25 at most; all else comes back as it is.
 *
 * @param from the model that it was made of.
 */
export async function writeQuantized(
  directory: string,
  model: QuantizedModel,
  from: Pick<Checkpoint, 'directory' | 'config'> & Partial<Pick<Checkpoint, 'companions'>>,
  { source, method, options, widened, tuning }: Provenance,
): Promise<void> {
  const { prefix } = model.config;
  const quantization = {
    format: FORMAT,
    tool: { name: 'mobilequant', version: toolVersion() },
    source,
    method,
    options,
    sizes: { ...sizesOf(model) },
    form: formOf(model.config),
    recipe: recipeToJson(model.recipe),
    widened,
    ...(tuning && { tuning }),
    encodings: encodingsToJson(model.encodings),
  };
  await writeCheckpoint(directory, {
    from,
    weights: toCheckpoint(checkpointForm(from.config), model.weights),
    dtype: 'float32',
    config: {
      tie_word_embeddings: !model.weights.has('lm_head.weight'),
      mobilequant: prefix.length > 0 ? { prefix } : undefined,
    },
    json: { [QUANTIZATION_FILE]: quantization as unknown as JsonValue },
  });
}

/**
 * The float model that a quantized directory holds, behind its prefix: the same function as the model that it was made of, unless its
 * weights were rounded or tuned (`roundsWeights`). L2 norms have their epsilon again.
 */
export async function readFloat(directory: string): Promise<FloatModel> {
  const { config, weights, checkpoint } = await readQuantized(directory);
  const { activation } = parseConfig(checkpoint.config);
  return { config: { ...config, activation, norm: config.norm === 'l2' ? 'epsilon' : config.norm }, weights };
}

/**
 * A quantized model from its directory, ours or the reference's; tensors are read when they are needed.
 *
 * @throws QuantizedDirectoryError for a directory without one, or files that are not of one model.
 */
export async function readQuantized(directory: string): Promise<QuantizedModel & { readonly checkpoint: Checkpoint }> {
  const checkpoint = await openCheckpoint(directory);
  const json = await readJsonIfThere(join(directory, QUANTIZATION_FILE));
  if (!json) {
    if (isReference(checkpoint)) return readReference(checkpoint);
    throw new QuantizedDirectoryError(
      directory,
      `a quantized model with ${QUANTIZATION_FILE}`,
      'a float model',
      'Run `mobilequant quantize` first; as it is, it has only the form float (`--form float`).',
    );
  }
  if (json['format'] !== FORMAT) {
    throw new QuantizedDirectoryError(
      directory,
      `${QUANTIZATION_FILE} in format ${FORMAT}`,
      JSON.stringify(json['format']),
      'Quantize again.',
    );
  }
  const config = { ...parseConfig(checkpoint.config), ...readForm(json['form'], directory) };
  const model = {
    config,
    weights: checkedWeights(config, fromCheckpoint(checkpointForm(checkpoint.config), checkpoint.weights)),
    ...inOrder(directory, () => ({
      recipe: parseRecipe(json['recipe']),
      encodings: encodingsFromJson(json['encodings']),
    })),
    checkpoint,
  };
  checkSites(model, directory);
  checkGroups(model, directory);
  return model;
}

/** Whether the weights in a directory are no longer those of a float model that computes what the original did: rounded, or tuned. */
export async function roundsWeights(directory: string): Promise<boolean> {
  const json = await readJsonIfThere(join(directory, QUANTIZATION_FILE));
  const { plan } = (json?.['options'] ?? {}) as { plan?: { rounding?: unknown; tuning?: unknown } };
  return plan?.rounding === 'gptq' || Number(plan?.tuning ?? 0) > 0;
}

/** Whether a directory looks like one of a quantized model, ours or the reference's. */
export const isQuantized = (directory: string): boolean =>
  existsSync(join(directory, QUANTIZATION_FILE)) ||
  [RANGES_FILE, SETTINGS_FILE].every((file) => existsSync(join(directory, file)));

function inOrder<T>(directory: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const fault = (cause as Error).message;
    throw new QuantizedDirectoryError(
      directory,
      `${QUANTIZATION_FILE} in order`,
      `a fault (${fault})`,
      'Quantize again.',
    );
  }
}

/** Bytes of a quantized model's tensors, by arithmetic. */
export function sizesOf(model: Pick<QuantizedModel, 'weights' | 'encodings'>): ModelSizes {
  const { weights } = model;
  return {
    float: weights.names().reduce((sum, name) => sum + (FLOAT / 8) * elementsOf(weights.shape(name)), 0),
    quantized: bytesByWidth(model).reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** The same by the bits of an element, ascending; scales are float. */
export function bytesByWidth({
  weights,
  encodings,
}: Pick<QuantizedModel, 'weights' | 'encodings'>): { bits: number; bytes: number }[] {
  const found = new Map<number, number>();
  const add = (bits: number, elements: number) =>
    found.set(bits, (found.get(bits) ?? 0) + Math.ceil((elements * bits) / 8));
  for (const name of weights.names()) {
    const encoding = encodings.get(siteOfTensor(weights, name));
    add(encoding?.spec.bits ?? FLOAT, elementsOf(weights.shape(name)));
    if (encoding) add(FLOAT, encoding.scale.length);
  }
  return [...found].map(([bits, bytes]) => ({ bits, bytes })).sort((a, b) => a.bits - b.bits);
}

const FLOAT = 32;

const elementsOf = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** What config.json does not say of how a quantized model is computed. */
type Form = Pick<DecoderConfig, 'norm' | 'finalNorm' | 'scoreScale' | 'activation' | 'embeddingFactor' | 'biases'>;

const formOf = ({ norm, finalNorm, scoreScale, activation, embeddingFactor, biases }: DecoderConfig): Form => ({
  norm,
  finalNorm,
  scoreScale,
  activation,
  embeddingFactor,
  biases, // LayerNorms that were folded have none
});

const NORM_FORMS = ['epsilon', 'l2', 'l2-folded', 'layer'];
const FORMS: { readonly [K in keyof Form]: (value: unknown) => boolean } = {
  norm: (value) => NORM_FORMS.includes(value as string),
  finalNorm: (value) => NORM_FORMS.includes(value as string),
  scoreScale: (value) => ['explicit', 'folded'].includes(value as string),
  activation: (value) => ['silu', 'gelu', 'gelu-tanh'].includes(value as string),
  embeddingFactor: (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
  biases: (value) => Array.isArray(value) && value.every((module) => typeof module === 'string'),
};

/** The form in the file; what it does not say is as config.json has it. */
function readForm(json: JsonValue | undefined, directory: string): Partial<Form> {
  const given = isObject(json) ? json : {};
  const required = { norm: undefined, finalNorm: undefined, scoreScale: undefined };
  for (const [key, value] of Object.entries({ ...required, ...given })) {
    if (Object.hasOwn(FORMS, key) && FORMS[key as keyof Form](value)) continue;
    throw new QuantizedDirectoryError(
      directory,
      `form.${key} in ${QUANTIZATION_FILE} to be known`,
      JSON.stringify(value),
      'Quantize again.',
    );
  }
  return given as Partial<Form>;
}

const isObject = (json: JsonValue | undefined): json is Readonly<Record<string, JsonValue>> =>
  typeof json === 'object' && json !== null && !Array.isArray(json);

/** Encodings must be those of the recipe's sites: one of another would be passed over, one that is not there leaves its site in float. */
function checkSites({ config, recipe, encodings }: QuantizedModel, directory: string): void {
  const resolve = resolveRecipe(recipe);
  const quantized = decoderSites(config).filter((site) => !site.startsWith('model.embed_tokens.') && resolve(site));
  const missing = quantized.find((site) => !encodings.has(site));
  const other = [...encodings.keys()].find((site) => !quantized.includes(site));
  if (missing === undefined && other === undefined) return;
  throw new QuantizedDirectoryError(
    directory,
    missing
      ? `an encoding of '${missing}' in ${QUANTIZATION_FILE}`
      : `only sites of its recipe in ${QUANTIZATION_FILE}`,
    other ? `'${other}'` : 'none',
    'Quantize again.',
  );
}

/** Encodings must have as many scales as the weights beside them have groups. */
function checkGroups({ weights, encodings }: QuantizedModel, directory: string): void {
  for (const name of weights.names()) {
    const site = siteOfTensor(weights, name);
    const encoding = encodings.get(site);
    if (!encoding) continue;
    const groups = groupCount(weights.shape(name), encoding.spec.granularity, site);
    if (encoding.scale.length !== groups) {
      throw new QuantizedDirectoryError(
        directory,
        `${groups} scales of '${site}'`,
        String(encoding.scale.length),
        'The files are not of one model; quantize again.',
      );
    }
  }
}
