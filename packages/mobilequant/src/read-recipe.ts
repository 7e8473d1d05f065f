/** A recipe by the name of a built-in one, or from a JSON file: ours, or the reference implementation's `default_qcfg.json`. */
import { basename, resolve } from 'node:path';
import { readJson } from '@mobilequant/checkpoint/node';
import { parseRecipe, type Recipe, recipeByName, recipeFromReferenceConfig } from '@mobilequant/quantizer';

/** Anything that looks like a file is one; relative paths start from `directory`. */
export async function readRecipe(nameOrFile: string, directory = '.'): Promise<Recipe> {
  if (!/[/\\]|\.json$/.test(nameOrFile)) return recipeByName(nameOrFile);
  const json = await readJson(resolve(directory, nameOrFile));
  return isReference(json) ? recipeFromReferenceConfig(json, basename(nameOrFile, '.json')) : parseRecipe(json);
}

/** The reference's file has modules, and nothing else, on top. */
const isReference = (json: Readonly<Record<string, unknown>>): boolean =>
  Object.keys(json).some((key) => key.includes('.')) &&
  Object.values(json).every((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
