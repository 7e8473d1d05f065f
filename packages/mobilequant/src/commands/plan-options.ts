/** Options that change the plan of a preset: shared by `quantize` and `observe`. */
import { type Plan, RANGE_CHOICES, ROUNDINGS, TRANSFORMS } from '@mobilequant/calibration';
import { choice, integer, number, type Option, type OptionValues, text, UsageError } from '../options.ts';

/** Steps of a preset that are to be otherwise. */
export const planOptions: {
  readonly prefix: Option<string | undefined>;
  readonly transform: Option<'preset' | Plan['transform']>;
  readonly ranges: Option<'preset' | Plan['ranges']>;
  readonly budget: Option<number | undefined>;
  readonly rounding: Option<'preset' | Plan['rounding']>;
  readonly correction: Option<number | undefined>;
  readonly gradients: Option<number | undefined>;
  readonly sweeps: Option<number | undefined>;
  readonly reconstruction: Option<number | undefined>;
  readonly tuning: Option<number | undefined>;
  readonly 'learned-rounding': Option<number | undefined>;
} = {
  prefix: text('IDS|none', 'preset: tokens before every text (default: searched)', undefined),
  transform: choice(
    ['preset', ...TRANSFORMS],
    "preset: of the weights, the function stays; smooth: SmoothQuant's scales, scales: searched ones, rotation: Hadamard",
    'preset',
  ),
  ranges: choice(
    ['preset', ...RANGE_CHOICES],
    'preset: of activations; rules: as the recipe says, minmax: all that was seen, loss: what adds least to the loss',
    'preset',
  ),
  budget: number('SHARE', 'preset: of the multiply-accumulates that may get 16-bit activations', [0, 1], undefined),
  rounding: choice(['preset', ...ROUNDINGS], 'preset: of weights; learned as the paper does', 'preset'),
  correction: number('SHARE', 'preset: of the errors before a linear, what GPTQ makes up for in it', [0, 1], undefined),
  gradients: integer('SAMPLES', 'preset: whose gradients tell GPTQ which errors matter (0: all alike)', 0, undefined),
  sweeps: integer('N', 'preset: times that GPTQ’s integers are decided again, at most', 0, undefined),
  reconstruction: integer('EPOCHS', 'preset: of learning the integers of each layer together', 0, undefined),
  tuning: integer('STEPS', 'preset: steps of tuning', 0, undefined),
  'learned-rounding': integer('RANK', 'preset: of what moves integers while tuning (0: they stay)', 0, undefined),
};

/** What the options say of a plan. */
export function planOf({
  prefix,
  transform,
  ranges,
  rounding,
  ...numbers
}: OptionValues<typeof planOptions>): Partial<Plan> {
  const {
    budget,
    correction,
    gradients,
    sweeps,
    reconstruction,
    tuning,
    'learned-rounding': learnedRounding,
  } = numbers;
  const ids = prefix === 'none' ? [] : prefix?.split(',').map((id) => (/^\d+$/.test(id) ? Number(id) : Number.NaN));
  if (ids && !ids.every(Number.isSafeInteger))
    throw new UsageError(`--prefix: expected token ids such as 1,216, or none, got '${prefix}'.`);
  return {
    ...(ids && { prefix: ids }),
    ...(transform !== 'preset' && { transform }),
    ...(ranges !== 'preset' && { ranges }),
    ...(budget !== undefined && { budget }),
    ...(rounding !== 'preset' && { rounding }),
    ...(correction !== undefined && { correction }),
    ...(gradients !== undefined && { gradients }),
    ...(sweeps !== undefined && { sweeps }),
    ...(reconstruction !== undefined && { reconstruction }),
    ...(tuning !== undefined && { tuning }),
    ...(learnedRounding !== undefined && { learnedRounding }),
  };
}
