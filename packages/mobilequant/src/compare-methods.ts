/** One model, several recipes and methods: quantize, measure simulated, export, measure in integers, and write a table of it all. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Method, OnProgress, Preset } from '@mobilequant/calibration';
import type { LanguageModel } from '@mobilequant/core';
import { type PerplexityOptions, perplexity, type Table } from '@mobilequant/evaluator';
import { checkRecipe, type Recipe, RecipeError } from '@mobilequant/quantizer';
import type { Runtime } from '@mobilequant/tracer';
import { exportDirectory } from './export-directory.ts';
import { exportedModel, floatModel, ONNX_FILE, simulatedModel } from './forms.ts';
import { duration, size } from './progress.ts';
import { type QuantizeDirectoryInput, type QuantizeDirectoryOptions, quantizeDirectory } from './quantize-directory.ts';
import { readQuantized } from './quantized-directory.ts';

export interface CompareMethodsInput extends Pick<QuantizeDirectoryInput, 'model' | 'calibration' | 'training'> {
  readonly recipes: readonly Recipe[];
  readonly methods: readonly (Method | Preset)[];
  /** Token ids to measure on. */
  readonly text: Int32Array;
  /** How they are divided. */
  readonly window: Pick<PerplexityOptions, 'tokens' | 'windows' | 'decode'>;
}

export interface CompareMethodsOptions extends QuantizeDirectoryOptions {
  /** Called with what is measured or done next. */
  readonly onStage?: (stage: string) => void;
  readonly onProgress?: OnProgress;
}

/** What a method came to under a recipe. */
export interface MethodResult {
  readonly recipe: string;
  readonly method: Method | Preset;
  /** The quantized directory; its export is in `onnx` there. */
  readonly directory: string;
  /** Token perplexities. */
  readonly simulated: number;
  readonly integer: number;
  /** Bytes of the exported model. */
  readonly bytes: number;
  /** Time to quantize. */
  readonly seconds: number;
}

export interface MethodComparison {
  /** Token perplexity and bytes of the float model. */
  readonly float: { readonly perplexity: number; readonly bytes: number };
  readonly results: readonly MethodResult[];
}

/**
 * Writes `directory/RECIPE-METHOD` for each recipe and method, and measures what is there.
 *
 * @throws RecipeError for recipes that do not fit the model, or whose names cannot be those of directories, each of its own.
 */
export async function compareMethods(
  runtime: Runtime,
  directory: string,
  { model, recipes, methods, text, window, ...samples }: CompareMethodsInput,
  { onStage, ...options }: CompareMethodsOptions = {},
): Promise<MethodComparison> {
  checkNames(recipes);
  for (const recipe of recipes) checkRecipe(recipe, model.config.layers);
  const measure = async (stage: string, open: () => LanguageModel | Promise<LanguageModel>): Promise<number> => {
    onStage?.(`${stage}: perplexity`);
    const opened = await open();
    const { tokenPerplexity } = await perplexity(opened, text, {
      ...window,
      onWindow: (_, done, total) => options.onProgress?.({ stage: `${stage}: windows`, done, total }),
    });
    await opened.release?.();
    return tokenPerplexity;
  };

  const float = {
    perplexity: await measure('float', () => floatModel(runtime, model)),
    bytes: await weightBytes(model.checkpoint),
  };
  const results: MethodResult[] = [];
  for (const recipe of recipes) {
    for (const method of methods) {
      const stage = `${recipe.name} ${method}`;
      const own = join(directory, `${recipe.name}-${method}`);
      onStage?.(`${stage}: quantize`);
      const { seconds } = await quantizeDirectory(runtime, own, { model, recipe, method, ...samples }, options);
      const simulated = await measure(`${stage} simulated`, async () =>
        simulatedModel(runtime, await readQuantized(own)),
      );
      onStage?.(`${stage}: export`);
      const files = await exportDirectory(own, join(own, 'onnx'), { tokens: window.tokens });
      const bytes = files.get(ONNX_FILE) ?? 0;
      const integer = await measure(`${stage} integer`, () => exportedModel(runtime, join(own, 'onnx')));
      results.push({ recipe: recipe.name, method, directory: own, simulated, integer, bytes, seconds });
    }
  }
  return { float, results };
}

function checkNames(recipes: readonly Recipe[]): void {
  const names = recipes.map(({ name }) => name);
  const path = names.find((name) => /[/\\:\0]|^\./.test(name));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (path === undefined && twice === undefined) return;
  const expected = path === undefined ? 'a name of its own for each' : 'a name that a directory can have';
  const received = path === undefined ? `'${twice}' twice` : `'${path}'`;
  throw new RecipeError({ where: 'recipes', expected, received, advice: 'Rename it in its file.' });
}

async function weightBytes({
  directory,
  files,
}: {
  readonly directory: string;
  readonly files: readonly string[];
}): Promise<number> {
  const sizes = files
    .filter((file) => file.endsWith('.safetensors'))
    .map(async (file) => (await stat(join(directory, file))).size);
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

const TITLES: Readonly<Record<Method | Preset, string>> = {
  minmax: 'min-max',
  smoothquant: 'SmoothQuant',
  omniquant: 'OmniQuant',
  mobilequant: 'MobileQuant',
  fast: 'fast',
  best: 'best',
};

/** Rows: float and the methods; columns, for each recipe: perplexity simulated and in integers, size on disk, time to quantize. */
export function comparisonTable({ float, results }: MethodComparison): Table {
  const recipes = [...new Set(results.map(({ recipe }) => recipe))];
  const methods = [...new Set(results.map(({ method }) => method))];
  const cellsOf = (recipe: string, method: Method | Preset) => {
    const result = results.find((r) => r.recipe === recipe && r.method === method);
    return result
      ? [result.simulated, result.integer, size(result.bytes), duration(result.seconds)]
      : Array.from({ length: 4 }, () => undefined);
  };
  return {
    corner: 'perplexity',
    columns: recipes.flatMap((recipe) => [`${recipe} simulated`, 'integer', 'size', 'time']),
    rows: [
      { name: 'float', cells: recipes.flatMap(() => [float.perplexity, undefined, size(float.bytes), undefined]) },
      ...methods.map((method) => ({
        name: TITLES[method],
        cells: recipes.flatMap((recipe) => cellsOf(recipe, method)),
      })),
    ],
  };
}
