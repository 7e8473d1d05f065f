/**
 * The rows of the table of results, as data: what `mobilequant quantize` is told for each. A new row is an entry here; its options are
 * those of the command line, and a row that asks for the same as another shares its measurements.
 */

import { type Plan, PRESETS, presetPlan } from '@mobilequant/calibration';
import { recipeByName, recipeToJson } from '@mobilequant/quantizer';

/** The halves of the table: weights of 8 and of 4 bits. */
export const WIDTHS = ['W8A8', 'W4A8'] as const;
export type Width = (typeof WIDTHS)[number];

/** Options of `quantize` by name, without their dashes. */
export type QuantizeOptions = Readonly<Record<string, string | number>>;

export interface Row {
  /** For `--only`, and in configs. */
  readonly name: string;
  readonly title: string;
  readonly recipes: Readonly<Record<Width, string>>;
  readonly method: string;
  readonly options?: QuantizeOptions;
}

export interface RowGroup {
  readonly title: string;
  readonly rows: readonly Row[];
}

const PAPER = { W8A8: 'paper-w8a8', W4A8: 'paper-w4a8-sym' };
const STRICT = { W8A8: 'w8a8-strict', W4A8: 'w4a8-strict' };
const DEVICE = { W8A8: 'w8a8', W4A8: 'w4a8' };

/** The plan of a preset with every step left out. */
const NOTHING = { prefix: 'none', transform: 'none', ranges: 'minmax', rounding: 'nearest' };

const without = (...steps: readonly (keyof typeof NOTHING)[]): QuantizeOptions =>
  Object.fromEntries(Object.entries(NOTHING).filter(([step]) => !steps.includes(step as keyof typeof NOTHING)));

/** Of calibration: as many as `fast` takes by itself, where other methods take more. */
export const SAMPLES_OF_FAST = 16;

const alone = { method: 'fast', recipes: STRICT };
const sum = { method: 'fast', recipes: DEVICE };

/** The methods of the paper, under recipes of one kind. */
const ofThePaper = (prefix: string, recipes: Row['recipes']): Row[] => [
  { name: `${prefix}minmax`, title: 'min-max', recipes, method: 'minmax' },
  { name: `${prefix}smoothquant`, title: 'SmoothQuant', recipes, method: 'smoothquant' },
  { name: `${prefix}omniquant`, title: 'OmniQuant', recipes, method: 'omniquant' },
  { name: `${prefix}mobilequant`, title: 'MobileQuant', recipes, method: 'mobilequant' },
];

export const ROW_GROUPS: readonly RowGroup[] = [
  { title: 'The paper’s methods by its own recipes', rows: ofThePaper('paper-', PAPER) },
  { title: 'The same by the recipes for devices', rows: ofThePaper('', DEVICE) },
  {
    title: 'One addition alone, to min-max with the paper’s sites',
    rows: [
      { ...alone, name: 'none', title: 'none', options: NOTHING },
      { ...alone, name: 'prefix', title: 'prefix', options: without('prefix') },
      { ...alone, name: 'percentile', title: 'prefix, percentile ranges', options: without('prefix', 'ranges') },
      { ...alone, name: 'scales', title: 'scales', options: { ...NOTHING, transform: 'scales' } },
      { ...alone, name: 'rotation', title: 'rotation', options: { ...NOTHING, transform: 'rotation' } },
      { ...alone, name: 'gptq', title: 'GPTQ', options: { ...NOTHING, rounding: 'gptq' } },
      {
        name: 'tuning',
        title: 'tuning',
        recipes: STRICT,
        method: 'best',
        options: { ...NOTHING, 'learned-rounding': 0, samples: SAMPLES_OF_FAST },
      },
      { name: 'sites', title: '16-bit sites', recipes: DEVICE, method: 'fast', options: NOTHING },
    ],
  },
  {
    title: 'Additions one upon the other',
    rows: [
      { ...alone, name: 'none', title: 'none', options: NOTHING },
      { ...alone, name: 'prefix', title: '+ prefix', options: without('prefix') },
      { ...alone, name: 'percentile', title: '+ percentile ranges', options: without('prefix', 'ranges') },
      { ...sum, name: 'sum-sites', title: '+ 16-bit sites', options: without('prefix', 'ranges') },
      { ...sum, name: 'sum-rotation', title: '+ rotation', options: { transform: 'rotation', rounding: 'nearest' } },
      {
        ...sum,
        name: 'sum-pairs',
        title: '+ scales of queries and keys',
        options: { transform: 'rotation+scales', rounding: 'nearest' },
      },
      { ...sum, name: 'sum-gptq', title: '+ GPTQ', options: { transform: 'rotation+scales', rounding: 'gptq' } },
      {
        ...sum,
        name: 'sum-loss',
        title: '+ ranges by the loss',
        options: { transform: 'rotation+scales', rounding: 'gptq', ranges: 'loss' },
      },
      {
        ...sum,
        name: 'sum-correction',
        title: '+ correction, gradients and sweeps (in the rows below for W4A8 only)',
        options: {
          transform: 'rotation+scales',
          rounding: 'gptq',
          ranges: 'loss',
          correction: 0.5,
          gradients: 16,
          sweeps: 4,
        },
      },
      {
        ...sum,
        name: 'sum-tuning',
        title: '+ tuning, by more samples',
        method: 'best',
        options: { transform: 'rotation+scales', rounding: 'gptq', ranges: 'loss', 'learned-rounding': 0 },
      },
      {
        ...sum,
        name: 'sum-learned-rounding',
        title: '+ learned rounding',
        method: 'best',
        options: { transform: 'rotation+scales', rounding: 'gptq', ranges: 'loss', 'learned-rounding': 16 },
      },
      {
        ...sum,
        name: 'sum-learned',
        title: 'the paper’s learning (scales, clipping, ranges) from the same start, in place of GPTQ and tuning',
        options: { transform: 'rotation+scales', rounding: 'learned' },
      },
      {
        ...sum,
        name: 'sum-scales',
        title: 'GPTQ, scales in place of the rotation',
        options: { transform: 'scales', rounding: 'gptq' },
      },
    ],
  },
  {
    title: 'Presets with the paper’s sites',
    rows: [
      { name: 'strict-fast', title: 'fast', recipes: STRICT, method: 'fast' },
      { name: 'strict-best', title: 'best', recipes: STRICT, method: 'best' },
    ],
  },
  {
    title: 'Presets',
    rows: [
      { name: 'fast', title: 'fast', recipes: DEVICE, method: 'fast' },
      { name: 'best', title: 'best', recipes: DEVICE, method: 'best' },
      {
        name: 'budget',
        title: 'fast, a tenth of the products with 16-bit activations (costs more on a device)',
        recipes: DEVICE,
        method: 'fast',
        options: { budget: 0.1 },
      },
    ],
  },
];

/** The names of all rows, each once. */
export const ROW_NAMES: readonly string[] = [
  ...new Set(ROW_GROUPS.flatMap(({ rows }) => rows.map(({ name }) => name))),
];

/** What a row tells `quantize` for one of its halves, beside the data. */
export interface Way {
  readonly recipe: string;
  readonly method: string;
  readonly options: QuantizeOptions;
}

/**
 * Options that say what the preset does by itself are left out, so that a row which comes to a preset is that preset. (Presets are taken as for
 * models whose residual stream can be rotated; for others rows that rotate say nothing.) Rows of `fast` have its samples.
 */
export function wayOf({ recipes, method, options = {} }: Row, width: Width): Way {
  const recipe = recipes[width];
  const plan = planOf({ recipe, method });
  const own: Readonly<Record<string, unknown>> = plan ? { ...plan, 'learned-rounding': plan.learnedRounding } : {};
  const steps = Object.fromEntries(Object.entries(options).filter(([name, value]) => own[name] !== value));
  return { recipe, method, options: method === 'fast' ? { samples: SAMPLES_OF_FAST, ...steps } : steps };
}

/** What a way's names stand for now: the recipe, and where the method is a preset the steps of its plan (not those that it leaves out). */
export const meaningOf = (way: Pick<Way, 'recipe' | 'method'>): unknown => {
  const plan = planOf(way);
  return {
    recipe: recipeToJson(recipeByName(way.recipe)),
    plan: plan && Object.fromEntries(Object.entries(plan).filter(([, step]) => step !== 0)),
  };
};

function planOf({ recipe, method }: Pick<Way, 'recipe' | 'method'>): Plan | undefined {
  const preset = PRESETS.find((known) => known === method);
  return preset && presetPlan(preset, recipeByName(recipe), { outputNorms: false });
}
