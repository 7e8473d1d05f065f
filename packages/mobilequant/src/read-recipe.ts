/** A recipe by the name of a built-in one, or from a JSON file. */
import { resolve } from 'node:path';
import { readJson } from '@mobilequant/checkpoint/node';
import { parseRecipe, type Recipe, recipeByName } from '@mobilequant/quantizer';

/** Anything that looks like a file is one; relative paths start from `directory`. */
export async function readRecipe(nameOrFile: string, directory = '.'): Promise<Recipe> {
  if (!/[/\\]|\.json$/.test(nameOrFile)) return recipeByName(nameOrFile);
  return parseRecipe(await readJson(resolve(directory, nameOrFile)));
}
