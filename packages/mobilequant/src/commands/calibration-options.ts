/** What `quantize` and `all` share: the options of calibration and learning, and what they come to. */
import type { Recipe } from '@mobilequant/quantizer';
import { pathFrom, type Surroundings } from '../command.ts';
import { choice, integer, number, type Option, type OptionValues, someTexts, texts, UsageError } from '../options.ts';
import { size } from '../progress.ts';
import type { QuantizeDirectoryInput } from '../quantize-directory.ts';
import { type Model, readModel } from '../read-model.ts';
import { readRecipe } from '../read-recipe.ts';
import { evenSamples, randomSamples, readTokens } from '../samples.ts';

/** Options that say what a model is calibrated on and how it learns: shared with `all`. */
export const calibrationOptions: {
  readonly calibration: Option<readonly string[]>;
  readonly samples: Option<number | undefined>;
  readonly tokens: Option<number>;
  readonly learn: Option<readonly string[]>;
  readonly 'learn-samples': Option<number | undefined>;
  readonly 'learn-tokens': Option<number | undefined>;
  readonly epochs: Option<number>;
  readonly seed: Option<number>;
  readonly alpha: Option<number>;
  readonly variant: Option<'modified' | 'original'>;
} = {
  calibration: someTexts(
    'FILE…',
    'text (.txt, .raw, .md, .jsonl) or ids (FILE.safetensors:NAME) for ranges and scales',
  ),
  samples: integer('N', 'calibration samples (default: 32, quantize and observe by fast: 16)', 1, undefined),
  tokens: integer('T', 'tokens of a sample', 2, 512),
  learn: texts('FILE…', 'what to learn from (default: the calibration files)'),
  'learn-samples': integer(
    'N',
    'samples to learn from (default: as many as for calibration; a preset takes another one for each step of tuning)',
    1,
    undefined,
  ),
  'learn-tokens': integer('T', 'tokens of these (default: as for calibration)', 2, undefined),
  epochs: integer('E', 'passes over the samples when learning', 1, 2),
  seed: integer('S', 'seed of the windows to learn from', 0, 1),
  alpha: number('A', 'SmoothQuant: share of the difficulty that moves into the weights', [0, 1], 0.5),
  variant: choice(['modified', 'original'], 'SmoothQuant: all pairs, or norms only', 'modified'),
};

type CalibrationValues = OptionValues<typeof calibrationOptions>;

const SAMPLES = 32;
const FEWER_SAMPLES = 16; // half the text, not much more than half the time

/** How many calibration samples a method gets if the options do not say. */
export const samplesBy = (method?: string): number => (method === 'fast' ? FEWER_SAMPLES : SAMPLES);

/** Opens the model that the user named. */
export async function openModel(name: string, { directory, status }: Surroundings): Promise<Model> {
  const onProgress = ({ file, received, total }: { file: string; received: number; total: number }) =>
    status(`download: ${size(received)} of ${size(total)}, ${file}`);
  return readModel(name, { directory, onProgress });
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
    learn,
    'learn-samples': learnSamples,
    'learn-tokens': learnTokens = tokens,
    seed,
  }: CalibrationValues,
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
  epochs,
  alpha,
  variant,
  seed,
}: CalibrationValues): {
  readonly epochs: number;
  readonly smoothing: { readonly alpha: number; readonly variant: 'modified' | 'original' };
  readonly notes: { readonly seed: number };
} => ({ epochs, smoothing: { alpha, variant }, notes: { seed } });
