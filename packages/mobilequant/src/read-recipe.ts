/** A recipe by the name of a built-in one, or from a JSON file: ours, or the reference implementation's `default_qcfg.json`. */
import { basename, resolve } from 'node:path';
import { readJson } from '@mobilequant/checkpoint/node';
import { parseRecipe, type Recipe, recipeByName, recipeFromReferenceConfig } from '@mobilequant/quantizer';
import { fromFile } from './file-error.ts';

const ADVICE = 'Check the path. A name without .json or / is a built-in recipe.';

/** Anything that looks like a file is one; relative paths start from `directory`. Throws a FileError where there is none. */
export async function readRecipe(nameOrFile: string, directory = '.'): Promise<Recipe> {
  if (!/[/\\]|\.json$/.test(nameOrFile)) return recipeByName(nameOrFile);
  const json = await fromFile(resolve(directory, nameOrFile), readJson, ADVICE);
  return isReference(json) ? recipeFromReferenceConfig(json, basename(nameOrFile, '.json')) : parseRecipe(json);
}

/** The reference's file has modules, and nothing else, on top. */
const isReference = (json: Readonly<Record<string, unknown>>): boolean =>
  Object.keys(json).some((key) => key.includes('.')) &&
  Object.values(json).every((value) => typeof value === 'object' && value !== null && !Array.isArray(value));
