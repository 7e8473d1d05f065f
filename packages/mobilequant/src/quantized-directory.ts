/**
 * A quantized model as a directory: a Hugging Face model directory with the transformed float weights, the same function as the
 * model that it comes from, and `quantization.json`: which sites are quantized, with which scales and zero points, and how that came about.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Checkpoint,
  type JsonValue,
  openCheckpoint,
  readJsonIfThere,
  writeCheckpoint,
} from '@mobilequant/checkpoint/node';
import { type DecoderConfig, headName, parseConfig, type QuantizedModel, type Weights } from '@mobilequant/core';
import { encodingsFromJson, encodingsToJson, groupCount, parseRecipe, recipeToJson } from '@mobilequant/quantizer';

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
}

/** Bytes of a model's tensors. */
export interface ModelSizes {
  /** In float32. */
  readonly float: number;
  /** With quantized weights packed at their bits, scales and whatever stays float in float32. */
  readonly quantized: number;
}

/** A directory that does not hold what a quantized model needs. */
export class QuantizedDirectoryError extends Error {
  override readonly name = 'QuantizedDirectoryError';
  readonly directory: string;

  constructor(directory: string, expected: string, received: string, advice: string) {
    super(`${directory}: expected ${expected}, got ${received}. ${advice}`);
    this.directory = directory;
  }
}

/** Writes a quantized model, as a whole or not at all. `from` is the model that it was made of. */
export async function writeQuantized(
  directory: string,
  model: QuantizedModel,
  from: Pick<Checkpoint, 'directory' | 'config'>,
  { source, method, options, widened }: Provenance,
): Promise<void> {
  const { norm, finalNorm, scoreScale } = model.config;
  const quantization = {
    format: FORMAT,
    tool: { name: 'mobilequant', version: toolVersion() },
    source,
    method,
    options,
    sizes: { ...sizesOf(model) },
    form: { norm, finalNorm, scoreScale },
    recipe: recipeToJson(model.recipe),
    widened,
    encodings: encodingsToJson(model.encodings),
  };
  await writeCheckpoint(directory, {
    from,
    weights: model.weights,
    dtype: 'float32',
    json: { [QUANTIZATION_FILE]: quantization as unknown as JsonValue },
  });
}

/** A quantized model from its directory; tensors are read when they are needed. */
export async function readQuantized(directory: string): Promise<QuantizedModel & { readonly checkpoint: Checkpoint }> {
  const checkpoint = await openCheckpoint(directory);
  const json = await readJsonIfThere(join(directory, QUANTIZATION_FILE));
  if (!json) {
    throw new QuantizedDirectoryError(
      directory,
      `a quantized model with ${QUANTIZATION_FILE}`,
      'a float model',
      'Run `mobilequant quantize` first.',
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
  const config = { ...parseConfig(checkpoint.config), ...formOf(json['form'], directory) };
  const model = {
    config,
    weights: checkpoint.weights,
    recipe: parseRecipe(json['recipe']),
    encodings: encodingsFromJson(json['encodings']),
    checkpoint,
  };
  checkGroups(model, directory);
  return model;
}

/** Bytes of a quantized model's tensors, by arithmetic. */
export function sizesOf({ weights, encodings }: Pick<QuantizedModel, 'weights' | 'encodings'>): ModelSizes {
  let [float, quantized] = [0, 0];
  for (const name of weights.names()) {
    const elements = weights.shape(name).reduce((product, d) => product * d, 1);
    const encoding = encodings.get(weightSite(weights, name));
    float += elements * 4;
    quantized += encoding ? Math.ceil((elements * encoding.spec.bits) / 8) + encoding.scale.length * 4 : elements * 4;
  }
  return { float, quantized };
}

/** The site of a tensor: a tied head is the embedding, which has the head's encoding. */
const weightSite = (weights: Weights, name: string): string => (name === headName(weights) ? 'lm_head.weight' : name);

type Form = Pick<DecoderConfig, 'norm' | 'finalNorm' | 'scoreScale'>;

const FORMS: { readonly [K in keyof Form]: readonly Form[K][] } = {
  norm: ['epsilon', 'l2', 'l2-folded'],
  finalNorm: ['epsilon', 'l2', 'l2-folded'],
  scoreScale: ['explicit', 'folded'],
};

function formOf(json: JsonValue | undefined, directory: string): Form {
  const given = (json ?? {}) as Readonly<Record<string, JsonValue>>;
  for (const [key, allowed] of Object.entries(FORMS)) {
    if (!(allowed as readonly unknown[]).includes(given[key])) {
      throw new QuantizedDirectoryError(
        directory,
        `form.${key} in ${QUANTIZATION_FILE} to be ${allowed.join(' or ')}`,
        JSON.stringify(given[key]),
        'Quantize again.',
      );
    }
  }
  return given as unknown as Form;
}

/** Encodings must have as many scales as the weights beside them have groups. */
function checkGroups({ weights, encodings }: QuantizedModel, directory: string): void {
  for (const name of weights.names()) {
    const site = weightSite(weights, name);
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

function toolVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}
