/** What `quantize` and `all` share: the options of calibration and learning, and what they come to. */
import type { Recipe } from '@mobilequant/quantizer';
import { pathFrom, type Surroundings } from '../command.ts';
import { choice, integer, number, type Option, type OptionValues, someTexts, texts, UsageError } from '../options.ts';
import { downloadTo } from '../progress.ts';
import type { QuantizeDirectoryInput } from '../quantize-directory.ts';
import { type Model, readModel } from '../read-model.ts';
import { readRecipe } from '../read-recipe.ts';
import { evenSamples, randomSamples, readTokens } from '../samples.ts';

/** Options that say what a model is calibrated on: all that `observe` needs of these. */
export const sampleOptions: {
  readonly calibration: Option<readonly string[]>;
  readonly samples: Option<number | undefined>;
  readonly tokens: Option<number>;
  readonly seed: Option<number>;
} = {
  calibration: someTexts(
    'FILE…',
    'text (.txt, .raw, .md, .jsonl) or ids (FILE.safetensors:NAME) for ranges and scales',
  ),
  samples: integer('N', 'calibration samples (default: 32, quantize and observe by fast: 16)', 1, undefined),
  tokens: integer('T', 'tokens of a sample', 2, 512),
  seed: integer('S', 'seed of what is drawn: windows to learn from, rotations', 0, 1),
};

/** Options that say what a model is calibrated on and how it learns: shared with `all`. */
export const calibrationOptions: typeof sampleOptions & {
  readonly learn: Option<readonly string[]>;
  readonly 'learn-samples': Option<number | undefined>;
  readonly 'learn-tokens': Option<number | undefined>;
  readonly epochs: Option<number | undefined>;
  readonly alpha: Option<number | undefined>;
  readonly variant: Option<'modified' | 'original' | undefined>;
} = {
  ...sampleOptions,
  learn: texts('FILE…', 'what to learn from (default: the calibration files)'),
  'learn-samples': integer(
    'N',
    'samples to learn from (default: as many as for calibration; a preset takes another one for each step of tuning)',
    1,
    undefined,
  ),
  'learn-tokens': integer('T', 'tokens of these (default: as for calibration)', 2, undefined),
  epochs: integer(
    'E',
    'passes over the samples of omniquant, mobilequant and --rounding learned (default 2)',
    1,
    undefined,
  ),
  alpha: number(
    'A',
    'smoothquant, omniquant, mobilequant: share of the difficulty that moves into the weights (default 0.5)',
    [0, 1],
    undefined,
  ),
  variant: choice(
    ['modified', 'original'] as const,
    'smoothquant, omniquant, mobilequant: all pairs, or norms only (default modified)',
    undefined,
  ),
};

type CalibrationValues = OptionValues<typeof calibrationOptions>;

/** Those that say how samples are taken; `observe` learns from none. */
type SampleValues = OptionValues<typeof sampleOptions> &
  Partial<Pick<CalibrationValues, 'learn' | 'learn-samples' | 'learn-tokens'>>;

const SAMPLES = 32;
const FEWER_SAMPLES = 16; // half the text, not much more than half the time

/** How many calibration samples a method gets if the options do not say. */
export const samplesBy = (method?: string): number => (method === 'fast' ? FEWER_SAMPLES : SAMPLES);

/** Opens the model that the user named. */
export async function openModel(name: string, surroundings: Surroundings): Promise<Model> {
  return readModel(name, { directory: surroundings.directory, onProgress: downloadTo(surroundings) });
}

/** The recipe that the user named. Throws a UsageError for a name or a file that is none. */
export async function openRecipe(nameOrFile: string, option: string, { directory }: Surroundings): Promise<Recipe> {
  return readRecipe(nameOrFile, directory).catch((cause: Error) => {
    throw new UsageError(`${option}: ${cause.message}`, { cause });
  });
}

/**
 * The samples that the options ask for.
 *
 * @param wanted how many to learn from if the options do not say, or all rows of ids where there are fewer; by default as many as for
 *   calibration
 */
export async function samplesFor(
  { checkpoint, config }: Model,
  {
    calibration,
    samples = samplesBy(),
    tokens,
    learn = [],
    'learn-samples': learnSamples,
    'learn-tokens': learnTokens = tokens,
    seed,
  }: SampleValues,
  surroundings: Surroundings,
  wanted: number = samples,
): Promise<Pick<Required<QuantizeDirectoryInput>, 'calibration' | 'training'>> {
  const read = (files: readonly string[]) =>
    readTokens(
      files.map((file) => pathFrom(surroundings, file)),
      () => checkpoint.tokenizer(),
    );
  const source = await read(calibration);
  const even = evenSamples(source, { samples, tokens });
  if (source.kind === 'text' && source.tokens.length < samples * tokens) {
    surroundings.report(
      `The calibration text has ${source.tokens.length} tokens, fewer than ${samples} × ${tokens}: samples overlap.`,
    );
  }
  const longest = Math.max(tokens, learnTokens);
  if (longest > config.maxPositions)
    surroundings.report(`Samples of ${longest} tokens are longer than the model's ${config.maxPositions} positions.`);
  const learned = learn.length > 0 ? await read(learn) : source;
  const most = learned.kind === 'rows' && wanted > samples ? Math.min(wanted, learned.rows.length) : wanted;
  const training = randomSamples(learned, { samples: learnSamples ?? most, tokens: learnTokens, seed });
  return { calibration: even, training };
}

/** How to learn, as the options say. */
export const learningOptions = ({
  epochs = 2,
  alpha = 0.5,
  variant = 'modified',
  seed,
}: CalibrationValues): {
  readonly epochs: number;
  readonly smoothing: { readonly alpha: number; readonly variant: 'modified' | 'original' };
  readonly notes: { readonly seed: number };
} => ({ epochs, smoothing: { alpha, variant }, notes: { seed } });
