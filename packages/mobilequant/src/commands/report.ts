/** `mobilequant report`: what is known and measured of quantized directories, as one page. */
import { basename, join, relative } from 'node:path';
import type { SiteOutliers } from '@mobilequant/calibration';
import { readTokenizer, writeFileAtomic } from '@mobilequant/checkpoint/node';
import { type FloatModel, withPrefix } from '@mobilequant/core';
import { compareModels, windowsOf } from '@mobilequant/evaluator';
import { type ReportData, reportPage, type Score } from '@mobilequant/report';
import type { Runtime } from '@mobilequant/tracer';
import {
  type Command,
  checkStopped,
  command,
  pathFrom,
  runtimeFrom,
  runtimeOptions,
  type Surroundings,
} from '../command.ts';
import { floatModel, openForm } from '../forms.ts';
import { type KeptMeasurements, keptMeasurements } from '../kept-measurements.ts';
import { measureDivergences, measureNoise, measureOutliers, worstOutliers } from '../measure-sites.ts';
import { type OpenedModel, openFacts, rangesOfSites } from '../model-facts.ts';
import { choice, integer, text, texts, UsageError } from '../options.ts';
import { checkOutput } from '../output-directory.ts';
import { progressTo } from '../progress.ts';
import { readFloat, roundsWeights } from '../quantized-directory.ts';
import type { Model } from '../read-model.ts';
import { readScore } from '../read-score.ts';
import { allTokens, readTokens } from '../samples.ts';
import { suggestRecipes } from '../suggest-recipes.ts';
import { toolVersion } from '../version.ts';
import { openModel } from './calibration-options.ts';

const PAGE = 'report.html';
const MEASUREMENTS = 'measurements.json';

const options = {
  compare: texts('DIR…', 'quantized models to stand beside it'),
  results: texts('FILE…', 'what `evaluate --json` printed of DIR, and of each model to compare with, in this order'),
  data: text('FILE', 'text or ids to measure on (default: nothing is measured)', undefined),
  tokens: integer('T', 'tokens of a window', 2, 512),
  windows: integer('N', 'windows for perplexities', 1, 8),
  form: choice(['simulated', 'integer'], 'form of which perplexities are measured', 'simulated'),
  reference: text('MODEL', 'the float model that they were made of: what they are compared with', undefined),
  sensitivity: choice(['none', 'kinds', 'sites'], 'divergence of the logits by kinds of sites, or each site', 'kinds'),
  out: text('DIR', `directory to write: ${PAGE} and ${MEASUREMENTS}`),
  ...runtimeOptions,
};

const notes = `DIR is what quantize wrote. The page needs no network and no script. What was measured stays in ${MEASUREMENTS} and is not measured again.
With --data come signal to noise and outliers on the first 4 windows, sensitivities by kinds on 256 tokens of the first 2, and by sites, which takes
minutes or more, on 128 tokens of the first; and perplexities, unless --results gives them. Suggestions for 16-bit activations want --sensitivity sites.
Without --reference, perplexities stand beside those of each directory's own float form, whose weights presets have rounded.`;

const SITE_WINDOWS = 4;
const KINDS = { windows: 2, tokens: 256 };
const SINGLE = { windows: 1, tokens: 128 };

export const reportCommand: Command = command({
  name: 'report',
  summary: 'write what is known and measured of quantized models as a page',
  positionals: ['DIR'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { compare, results, data, tokens, windows, form, reference, sensitivity, json, ...others } = values;
    const directories = [name as string, ...compare].map((directory) => pathFrom(surroundings, directory));
    if (results.length > directories.length)
      throw new UsageError(`--results: expected at most ${directories.length}, one a model, got ${results.length}.`);
    if (data === undefined && reference !== undefined)
      throw new UsageError('--reference: expected --data beside it, got none. Without a text nothing is measured.');
    const out = pathFrom(surroundings, others.out);
    await checkOutput(out, (entries) => entries.includes(PAGE) || entries.includes(MEASUREMENTS), 'a report');

    const models: OpenedModel[] = [];
    for (const directory of directories) models.push(await openFacts(directory));
    const given: Score[] = [];
    for (const file of results) given.push(await readScore(pathFrom(surroundings, file)));
    const [main] = models as [OpenedModel, ...OpenedModel[]];
    const known = (score: (model: OpenedModel, i: number) => Score | undefined): ReportData['models'] => {
      const facts = models.map((model, i) => {
        const own = score(model, i);
        return { ...model.facts, ...(own && { score: own }) };
      });
      return facts as [(typeof facts)[0], ...typeof facts];
    };
    const tool = `mobilequant ${toolVersion()}`;

    let page: ReportData = { models: known((_, i) => given[i]), ranges: rangesOfSites(main.model, new Map()), tool };
    if (data !== undefined) {
      const runtime = runtimeFrom(others);
      const tokenizer = await readTokenizer(main.directory).catch(() => undefined); // ids alone can be measured too
      const source = await readTokens(
        [pathFrom(surroundings, data)],
        async () => tokenizer ?? readTokenizer(main.directory), // the second one says what is missing
      );
      const parts = windowsOf(allTokens(source), { tokens, windows });
      const original = reference === undefined ? undefined : await openModel(reference, surroundings);
      const measuring: Measuring = {
        runtime,
        kept: await keptMeasurements(join(out, MEASUREMENTS)),
        nameOf: ({ directory }) => relative(out, directory),
        parts,
        original,
        surroundings,
      };
      const measured = models.filter((_, i) => given[i] === undefined);
      for (const { directory, facts } of original ? [] : measured)
        if (await roundsWeights(directory))
          surroundings.report(
            `${facts.name}: its float form has the weights of this directory, which were rounded; compare with --reference MODEL.`,
          );
      const scores: (Score | undefined)[] = [];
      for (const [i, model] of models.entries()) scores.push(given[i] ?? (await scoreOf(measuring, model, form)));
      page = {
        ...page,
        models: known((_, i) => scores[i]),
        conditions: [
          `Text: ${basename(data)}, ${parts.length} windows of ${tokens} tokens; sites on the first of them.`,
        ],
        ...(await sitesOf(measuring, main, sensitivity, tokenizer)),
      };
    }
    const file = join(out, PAGE);
    await writeFileAtomic(file, reportPage(page));
    surroundings.print(json ? JSON.stringify({ file, ...page }) : file);
  },
});

interface Measuring {
  readonly runtime: Runtime;
  readonly kept: KeptMeasurements;
  /** What a model is called in the file of measurements. */
  readonly nameOf: (model: OpenedModel) => string;
  readonly parts: readonly Int32Array[];
  /** The float model that they were made of, if it is there. */
  readonly original: Model | undefined;
  readonly surroundings: Surroundings;
}

/** Of a form against the original behind the same prefix, or against the directory's own float form. */
function scoreOf(
  { runtime, kept, nameOf, parts, original, surroundings }: Measuring,
  model: OpenedModel,
  form: 'simulated' | 'integer',
): Promise<Score> {
  const tokens = parts[0]?.length ?? 0;
  return kept.of(`score of ${nameOf(model)}`, [model.digest, form, original?.name, ...parts], async () => {
    const own = await openForm(runtime, model.directory, form, { tokens });
    const float = floatModel(runtime, await floatOf(runtime, model, original));
    const whole = new Int32Array(parts.flatMap((part) => [...part]));
    const onWindow = (done: number, total: number): void => {
      checkStopped(surroundings.signal);
      surroundings.status(`${model.facts.name}, ${form}: ${done} of ${total} windows`);
    };
    try {
      const { distance, a, b, logRatio } = await compareModels(float, own, whole, { tokens, onWindow });
      const { mean, standardError } = logRatio;
      return {
        form,
        perplexity: b.tokenPerplexity,
        windows: parts.length,
        comparison: {
          with: original ? 'reference' : 'float',
          perplexity: a.tokenPerplexity,
          ratio: Math.exp(mean),
          ...(standardError !== undefined && { standardError }),
          divergence: distance.divergence,
          agreement: distance.agreement,
        },
      };
    } finally {
      await own.release?.();
      await float.release?.();
    }
  });
}

async function floatOf(runtime: Runtime, model: OpenedModel, original: Model | undefined): Promise<FloatModel> {
  return original
    ? withPrefix(runtime, original.config, original.weights, model.model.config.prefix)
    : readFloat(model.directory);
}

/** What is looked at in the first model's sites. */
async function sitesOf(
  { runtime, kept, nameOf, parts, original, surroundings }: Measuring,
  main: OpenedModel,
  sensitivity: 'none' | 'kinds' | 'sites',
  tokenizer: Parameters<typeof worstOutliers>[2],
): Promise<Partial<ReportData>> {
  const { model, digest } = main;
  const show = progressTo(surroundings);
  const onProgress: typeof show = (state) => {
    checkStopped(surroundings.signal);
    show(state);
  };
  const name = nameOf(main);
  const windows = parts.slice(0, SITE_WINDOWS);
  const starts = ({ windows, tokens }: typeof KINDS): Int32Array[] =>
    parts.slice(0, windows).map((part) => part.subarray(0, tokens));

  surroundings.status('signal to noise');
  const noise = await kept.of(`noise in ${name}`, [digest, ...windows], () => measureNoise(runtime, model, windows));
  const look = async (what: string, things: readonly unknown[], float: FloatModel) =>
    new Map<string, SiteOutliers>(
      await kept.of(`outliers in ${what}`, [...things, ...windows], () =>
        measureOutliers(runtime, float, windows, onProgress),
      ),
    );
  const before = original && (await look(original.name, [original.name], original));
  const now = await look(name, [digest], await readFloat(main.directory));
  const shown = (of: string, found: ReadonlyMap<string, SiteOutliers>) => ({
    model: of,
    found: worstOutliers(found, windows, tokenizer),
  });
  const sites = {
    noise,
    ranges: rangesOfSites(model, before ?? new Map()),
    outliers: [
      ...(before ? [shown('the original model', before)] : []),
      shown(`the float form of ${main.facts.name}`, now),
    ],
  };
  if (sensitivity === 'none') return sites;
  const samples = { kinds: starts(KINDS), ...(sensitivity === 'sites' && { sites: starts(SINGLE) }) };
  const texts = [...samples.kinds, ...(samples.sites ?? [])];
  const divergences = await kept.of(`divergences in ${name}, ${sensitivity}`, [digest, ...texts], () =>
    measureDivergences(runtime, model, noise, samples, onProgress),
  );
  return { ...sites, divergences, overrides: suggestRecipes(model, divergences) };
}
