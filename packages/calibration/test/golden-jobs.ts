/**
 * What a training job of the reference was, read from its name and from the manifest.
 *
 *     mobilequant|omniquant [-lrl…] [-original] [-shift] [-aug] -<precision>
 */
import type { Recipe } from '@mobilequant/quantizer';
import type { Pair, ParameterGroup } from '../src/learnables.ts';
import type { LearningOptions } from '../src/learning.ts';
import type { LearningRate } from '../src/schedule.ts';
import type { SmoothQuantOptions } from '../src/smooth-quant.ts';
import type { GoldenStep, GoldenTraining } from './golden-case.ts';
import { recipeOf } from './golden-runs.ts';

export interface Job {
  readonly name: string;
  readonly training: GoldenTraining;
  readonly endToEnd: boolean;
  readonly recipe: Recipe;
  /** The smoothed model that it starts from. */
  readonly start: SmoothQuantOptions['variant'];
  /** The steps of one layer, or of the whole. */
  readonly steps: readonly GoldenStep[];
  readonly options: Pick<LearningOptions, 'epochs' | 'targets' | 'rates' | 'extraLoss'>;
}

export const GROUPS: readonly ParameterGroup[] = ['let', 'lwc', 'lrl'];

/** The job, or why its name says nothing to us. */
export function jobOf(name: string, training: GoldenTraining, samples: number): Job | string {
  const match = /^(mobilequant|omniquant)(-.*)?-(w\d+a\d+(?:-sym)?)$/.exec(name);
  if (!match) return 'not a job named method-variants-precision';
  const [, method, variants = '', precision] = match as unknown as [string, string, string | undefined, string];
  const unknown = variants
    .split('-')
    .filter((variant) => variant !== '' && !/^(lrl|\d|original$|shift$|aug$)/.test(variant));
  if (unknown.length > 0) return `a variant that is not known: ${unknown}`;
  const steps = Object.values(training.steps)[0] as readonly GoldenStep[];
  const original = variants.includes('-original');
  const pairs: readonly Pair[] = original ? ['qkv', 'out', 'qkt', 'fc1'] : ['qkv', 'out', 'qkt', 'fc1', 'fc2'];
  const ranges = (steps[0] as GoldenStep).lr.length > 2;
  const rate = (group: number) => scheduleOf(steps.map(({ lr }) => lr[group] ?? 0));
  return {
    name,
    training,
    endToEnd: method === 'mobilequant',
    recipe: recipeOf(precision, true),
    start: original ? 'omniquant' : 'modified',
    steps,
    options: {
      epochs: steps.length / samples,
      targets: { pairs, shifts: variants.includes('-shift'), clipping: true, ranges },
      rates: { let: rate(0), lwc: rate(1), lrl: rate(2) },
      extraLoss: variants.includes('-aug'),
    },
  };
}

/** The ends of a cosine that has been seen from its first to its last step but one. */
function scheduleOf(rates: readonly number[]): LearningRate {
  const from = rates[0] as number;
  const last = rates.at(-1) as number;
  const left = (1 + Math.cos((Math.PI * (rates.length - 1)) / rates.length)) / 2;
  return { from, to: (last - from * left) / (1 - left) };
}

/** `<layer>/<name>` of a parameter in the reference's names. */
export function parameterName(reference: string): string {
  const [, layer, name] = /^model\.layers\.(\d+)\.(.+)$/.exec(reference) as unknown as [string, string, string];
  const own = name
    .replace(/_smooth_(scale|shift)$/, '.$1')
    .replace(/_quantizer\.upbound_factor$/, '.upper')
    .replace(/_quantizer\.lowbound_factor$/, '.lower')
    .replace(/_quantizer\.(scale|offset)$/, '.$1');
  return `${layer}/${own}`;
}
