/**
 * A quantized model in the form in which the reference implementation publishes its own:
 *
 *     config.json, weights   unified names, every switch a key (`model_type: "hfmodel"`)
 *     default_qcfg.json      what is done at each site: the recipe
 *     act_dict.json          the ranges of activations; a weight has that of its values
 *
 * Encodings are in none of these files: they are made of ranges whenever a model is read, as the reference makes them.
 */
import { join } from 'node:path';
import { observedForm, quantizedForm, quantizeModel } from '@mobilequant/calibration';
import { type Checkpoint, type JsonObject, readJson } from '@mobilequant/checkpoint/node';
import {
  checkedWeights,
  checkpointForm,
  type DecoderConfig,
  fromCheckpoint,
  parseConfig,
  type QuantizedModel,
} from '@mobilequant/core';
import {
  checkRecipe,
  decoderSites,
  type Range,
  rangesFromReference,
  recipeFromReferenceConfig,
  splitSite,
} from '@mobilequant/quantizer';
import { QuantizedDirectoryError } from './quantized-directory-error.ts';

/** Ranges of activations. */
export const RANGES_FILE = 'act_dict.json';
/** Settings of sites. */
export const SETTINGS_FILE = 'default_qcfg.json';

/** Whether a checkpoint is a quantized one in the reference's form. */
export const isReference = ({ config, files }: Pick<Checkpoint, 'config' | 'files'>): boolean =>
  config.model_type === 'hfmodel' && files.includes(RANGES_FILE) && files.includes(SETTINGS_FILE);

/**
 * A quantized model as the reference reads it. Every quantized weight is read once, for its range.
 *
 * @throws QuantizedDirectoryError for sites that the decoder does not have, or that have no range; FormatError or RecipeError for
 *   files that are malformed, or settings that cannot be carried out.
 */
export async function readReference(
  checkpoint: Checkpoint,
): Promise<QuantizedModel & { readonly checkpoint: Checkpoint }> {
  const { directory, config: json } = checkpoint;
  const config = quantizedConfig(checkpoint);
  const recipe = await inFile(directory, SETTINGS_FILE, (settings) => recipeFromReferenceConfig(settings, 'reference'));
  const ranges = await inFile(directory, RANGES_FILE, rangesFromReference);
  const named = recipe.rules.map(({ site }) => site);
  checkSites(directory, SETTINGS_FILE, named, decoderSites(config));
  checkSites(directory, RANGES_FILE, ranges.keys(), decoderSites(config.layers));
  checkRecipe(recipe, config.layers);

  const used = new Map<string, Range>();
  for (const { site, spec } of recipe.rules) {
    if (!spec || splitSite(site).port === 'weight') continue;
    const range = ranges.get(site) ?? spec.range;
    if (!range) {
      const advice = 'Both files must be of the same model.';
      throw new QuantizedDirectoryError(directory, `a range of '${site}' in ${RANGES_FILE}`, 'none', advice);
    }
    used.set(site, range);
  }
  const weights = checkedWeights(config, fromCheckpoint(checkpointForm(json), checkpoint.weights));
  return { ...(await quantizeModel({ config, weights, recipe, ranges: used })).model, checkpoint };
}

/** What the reference quantizes: norms in L2 form, and the exact GELU for the kinds that it replaces. */
function quantizedConfig({ directory, config: json, files }: Checkpoint): DecoderConfig {
  const config = parseConfig(json);
  const fail = (expected: string, received: string, advice: string): never => {
    throw new QuantizedDirectoryError(directory, expected, received, advice);
  };
  if (json.norm_class === 'skiprms')
    fail("norm_class 'rmsnorm' or 'layernorm'", "'skiprms'", 'The reference cannot quantize it.');
  const has = (form: RegExp) => files.some((file) => form.test(file));
  if (has(/^model.*\.safetensors$/) && has(/^pytorch_model.*\.bin$/)) {
    const advice = 'The reference reads the .bin, of the smoothed model; move the files of the other one away.';
    fail('weights of one kind', 'safetensors and .bin', advice);
  }
  const replaced = !['gelu_new', 'gelu_fast'].includes(json.hidden_act as string);
  return replaced ? quantizedForm(config, 'reference') : observedForm(config);
}

async function inFile<T>(directory: string, file: string, read: (json: JsonObject) => T): Promise<T> {
  const json = await readJson(join(directory, file));
  try {
    return read(json);
  } catch (cause) {
    throw Object.assign(cause as Error, { message: `${join(directory, file)}: ${(cause as Error).message}` });
  }
}

function checkSites(directory: string, file: string, given: Iterable<string>, sites: readonly string[]): void {
  const known = new Set(sites);
  for (const site of given) {
    if (known.has(site)) continue;
    const advice = 'The files must be of the same model; remove it if it does not matter.';
    throw new QuantizedDirectoryError(directory, `only sites of the decoder in ${file}`, `'${site}'`, advice);
  }
}
