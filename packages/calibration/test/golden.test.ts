/**
 * Parity with the reference implementation, on every model case in the folder of golden data: forward, statistics, SmoothQuant,
 * simulated quantization, every gradient, the first steps of every training job, and the device form.
 */
import {
  createDecoder,
  type DecoderConfig,
  deviceForm,
  embed,
  norm,
  readHead,
  ropeTables,
  simulatedReading,
} from '@mobilequant/core';
import { type Encoding, type QuantizerSpec, referenceGrid, resolveRecipe } from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import type { Tree } from '../src/adamw.ts';
import { parameterGroup } from '../src/learnables.ts';
import { type LearningState, startSession } from '../src/learning.ts';
import { observedForm, quantizedForm } from '../src/methods.ts';
import { endToEndGradients, learnEndToEnd } from '../src/mobile-quant.ts';
import { learnLayerWise } from '../src/omni-quant.ts';
import { fuseLearned, quantizeModel } from '../src/quantize-model.ts';
import { learningRateAt } from '../src/schedule.ts';
import type { SmoothQuantOptions } from '../src/smooth-quant.ts';
import * as close from './closeness.ts';
import type { How } from './evaluate.ts';
import {
  Complaints,
  type GoldenCase,
  type GoldenTensor,
  joined,
  openGolden,
  perturbed,
  readingsOf,
  replaced,
  rowsOf,
  under,
} from './golden-case.ts';
import { runDevice } from './golden-device.ts';
import { GROUPS, type Job, jobOf, parameterName } from './golden-jobs.ts';
import { type CaseRuns, hiddenBy, inputOf, once, recipeOf, simulate, sitesOf, startRuns } from './golden-runs.ts';

const directory = process.env['MOBILEQUANT_GOLDEN'];
const runtime = nodeRuntime({ threads: 1 });
const { cases, skipped } = directory ? await openGolden(directory) : { cases: [], skipped: [] };
for (const [i, golden] of cases.entries()) cases[i] = { ...golden, config: await readingBehind(golden, 'logits') };
const HOW: readonly How[] = ['eager on tfjs', 'traced on onnxruntime'];
const SEEDS = Array.from({ length: 16 }, (_, seed) => seed); // of roundings tried; see `branch`

describe.skipIf(!directory)('golden models (set MOBILEQUANT_GOLDEN to the folder of reference data)', () => {
  if (!directory) test('no folder is named', () => {});
  for (const { name, reason } of skipped) skipping(name, reason);
  for (const golden of cases) {
    describe(golden.name, () => {
      const runs = startRuns(runtime, golden);
      forward(golden, runs);
      calibration(golden, runs);
      simulation(golden, runs);
      const flips: string[] = [];
      const jobs = Object.entries(golden.manifest.training);
      for (const [name, training] of jobs) {
        const job = jobOf(name, training, golden.calibration.length);
        if (typeof job === 'string') skipping(`${golden.name}/${name}`, job);
        else learning(golden, runs, job, flips);
      }
      test.runIf(jobs.length > 0)('few jobs begin on the other side of a rounding', () => {
        expect(flips.length).toBeLessThanOrEqual(Math.ceil(jobs.length / 4));
      });
      device(golden);
    });
  }
});

/** Logits of the evaluated rows, one behind the other. */
async function logitsOf({ evaluation, weights }: GoldenCase, config: DecoderConfig): Promise<Float32Array> {
  const decoder = createDecoder(runtime, config, weights);
  const rows: Float32Array[] = [];
  for (const tokens of evaluation) rows.push(await decoder.logits(await decoder.hidden(tokens)));
  await decoder.release();
  return joined(rows);
}

/** The reading of the config that some stored logits were computed with. */
async function readingBehind(golden: GoldenCase, name: string): Promise<DecoderConfig> {
  const { config, float } = golden;
  const form = name === 'logits' ? observedForm : (given: DecoderConfig) => given;
  const target = float.get(name)?.data;
  if (!target) return config;
  const errors = new Map<DecoderConfig, number>();
  for (const reading of readingsOf(config)) {
    errors.set(reading, close.rms(close.differences(await logitsOf(golden, form(reading)), target)));
  }
  return [...errors].reduce((best, entry) => (entry[1] < best[1] ? entry : best))[0];
}

/** Says what is not compared, and why. */
function skipping(name: string, reason: string): void {
  test(`skips ${name}: ${reason}`, ({ skip }) => {
    console.info(`golden: skips ${name}: ${reason}`);
    skip(reason);
  });
}

/** At least one comparison, and nothing to complain of. */
function expectNone({ list, count }: Complaints): void {
  expect(list).toEqual([]);
  expect(count).toBeGreaterThan(0);
}

const want = (tensors: ReadonlyMap<string, GoldenTensor>, name: string): Float32Array => {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`golden: expected a tensor named '${name}', got ${[...tensors.keys()].slice(0, 5)}, ….`);
  return tensor.data;
};

function forward(golden: GoldenCase, runs: CaseRuns): void {
  const { float, evaluation, weights } = golden;
  const noise = (name: string) => golden.noise('float', name);

  const names = ['logits.huggingface', 'logits.epsilon_rmsnorm', 'logits'].filter((name) => float.has(name));
  test.each(names)('%s', async (name) => {
    const config = name === 'logits' ? runs.config : await readingBehind(golden, name);
    expect(close.elementwise(await logitsOf(golden, config), want(float, name), noise(name))).toBeUndefined();
  });

  test('hidden states after the embedding, every layer, and the final norm', async () => {
    const { config } = runs;
    const decoder = createDecoder(runtime, config, weights);
    const states = new Map<string, Float32Array[]>();
    const keep = (name: string, x: Float32Array) => states.set(name, [...(states.get(name) ?? []), x]);
    const { 'norm.weight': weight, 'norm.bias': bias } = await readHead(weights);
    for (const tokens of evaluation) {
      keep('hidden.embed', await decoder.embed(tokens));
      const x = await decoder.hidden(tokens, (layer, state) => keep(`hidden.layer${layer}`, state));
      const normed = norm(
        tf.tensor2d(x, [tokens.length, config.hidden]),
        tf.tensor1d((weight as GoldenTensor).data),
        bias && tf.tensor1d(bias.data),
        config.finalNorm,
        config.normEpsilon,
      );
      keep('hidden.final_norm', normed.dataSync() as Float32Array);
    }
    const complaints = new Complaints();
    for (const [name, { data }] of float) {
      if (name.startsWith('hidden.'))
        complaints.add(name, close.elementwise(joined(states.get(name) ?? []), data, noise(name)));
    }
    expectNone(complaints);
  });

  test.each(HOW)('every site, %s', async (how) => {
    const sites = await sitesOf(how, runtime, { config: runs.config, weights }, evaluation[0] as Int32Array);
    const complaints = new Complaints();
    for (const [site, { data }] of under(float, 'site.'))
      complaints.add(site, close.elementwise(sites.get(site) ?? [], data, noise(`site.${site}`)));
    expectNone(complaints);
  });
}

const VARIANTS: Readonly<Record<string, SmoothQuantOptions['variant'] | 'none'>> = {
  none: 'none',
  'sq-original': 'original',
  'sq-modified': 'modified',
};

function calibration(golden: GoldenCase, runs: CaseRuns): void {
  const has = (file: string) => `${file}.safetensors` in golden.manifest.files;
  test.runIf(has('calibration'))('channel maxima and shifts', async () => {
    const complaints = new Complaints();
    const statistics = await runs.statistics();
    for (const [name, { data }] of await golden.file('calibration')) {
      const [, kind, module, port] = /^act_(scale|shift)\.(.+)_(input2?|output)$/.exec(name) as unknown as [
        string,
        string,
        string,
        string,
      ];
      const channels = statistics.get(`${module}.${port}`)?.channels;
      complaints.add(
        name,
        close.elementwise(
          (kind === 'scale' ? channels?.absMax : channels?.shift) ?? [],
          data,
          golden.noise('calibration', name),
        ),
      );
    }
    expectNone(complaints);
  });

  test.each(Object.keys(golden.ranges.calibration))('ranges of %s', async (variant) => {
    const complaints = new Complaints();
    const statistics = await runs.statisticsOf(VARIANTS[variant] as 'none');
    for (const [module, ports] of Object.entries(golden.ranges.calibration[variant] ?? {})) {
      for (const [port, range] of Object.entries(ports)) {
        const { min, max } = statistics.get(`${module}.${port}`) ?? { min: Number.NaN, max: Number.NaN };
        complaints.add(`${module}.${port}`, close.elementwise([min, max], range));
      }
    }
    expectNone(complaints);
  });

  test.runIf(has('smoothquant')).each(['original', 'modified', 'omniquant'] as const)(
    'smoothed weights: %s',
    async (variant) => {
      const stored = await golden.file('smoothquant');
      const prefixes = variant === 'omniquant' ? ['original-omniquant.', 'original.', 'modified.'] : [`${variant}.`];
      const weights = await runs.weights(variant);
      const complaints = new Complaints();
      for (const name of weights.names()) {
        const got = await weights.read(name);
        const candidates = prefixes.map((prefix) => prefix + name).filter((key) => stored.has(key));
        // The third variant is stored only where it differs from both others; w3 → w2 is what it leaves out.
        const own =
          candidates.length > 0 && candidates[0]?.startsWith(prefixes[0] as string)
            ? candidates.slice(0, 1)
            : candidates;
        const targets = own.map((key) => close.elementwise(got, want(stored, key), golden.noise('smoothquant', key)));
        if (variant === 'omniquant' || own.length === 0)
          targets.push(close.elementwise(got, await golden.weights.read(name), close.SILENT));
        complaints.add(name, targets.includes(undefined) ? undefined : targets[0]);
      }
      expectNone(complaints);
    },
  );
}

function simulation(golden: GoldenCase, runs: CaseRuns): void {
  const stored = once(() => golden.file('quant-sim'));
  const names = Object.keys(golden.manifest.files['quant-sim.safetensors'] ?? {});
  const kinds = names.flatMap((name) => {
    const match = /^logits\.(none|sq-.+)\.(w.+)$/.exec(name);
    return match ? [{ variant: match[1] as string, precision: match[2] as string }] : [];
  });

  test.each(kinds)('simulated $variant $precision: hidden states and logits', async ({ variant, precision }) => {
    const input = await inputOf(runs, golden, VARIANTS[variant] as 'none', recipeOf(precision, false));
    const programs = simulate(runtime, input);
    const float = createDecoder(runtime, input.config, input.weights);
    const { model } = await quantizeModel(input);
    const encoded = createDecoder(runtime, input.config, input.weights, { reading: simulatedReading(model.encodings) });
    const hidden: Float32Array[] = [];
    const logits: Float32Array[] = [];
    const ofEncodings: Float32Array[] = [];
    for (const tokens of golden.evaluation) {
      hidden.push(await hiddenBy(programs, input.config, input.weights, tokens));
      logits.push(await float.logits(hidden.at(-1) as Float32Array));
      ofEncodings.push(await encoded.logits(await encoded.hidden(tokens)));
    }
    const complaints = new Complaints();
    const compare = (kind: string, got: Float32Array[]) => {
      const name = `${kind}.${variant}.${precision}`;
      return close.elementwiseButFlips(joined(got), want(tensors, name), golden.noise('quant-sim', name));
    };
    const tensors = await stored();
    complaints.add('hidden', compare('hidden', hidden));
    complaints.add('logits', compare('logits', logits));
    // As encodings have it, the zero point lies in the grid: norm weights, whose range excludes 0, have a coarser one.
    const noise = { ...golden.noise('quant-sim', `logits.${variant}.${precision}`), rmsDifference: 0 };
    complaints.add(
      'logits from encodings',
      close.sameError(
        joined(ofEncodings),
        want(tensors, `logits.${variant}.${precision}`),
        want(golden.float, 'logits'),
        noise,
      ),
    );
    expectNone(complaints);
    for (const each of [programs, float, encoded]) await each.release();
  });

  const precisions = [
    ...new Set(names.flatMap((name) => /^scale\.sq-modified\.(w\d+a\d+(?:-sym)?)\./.exec(name)?.[1] ?? [])),
  ];
  test.each(precisions)('scales and offsets of sq-modified %s', async (precision) => {
    const recipe = recipeOf(precision, false);
    const resolve = resolveRecipe(recipe);
    const input = await inputOf(runs, golden, 'modified', recipe);
    const { model, widened } = await quantizeModel(input);
    const tensors = await stored();
    const complaints = new Complaints();
    for (const [name, { data }] of under(tensors, `scale.sq-modified.${precision}.`)) {
      const site = name.replace(/_quantizer$/, '');
      const key = `sq-modified.${precision}.${name}`;
      const spec = resolve(site) as QuantizerSpec;
      const encoding = model.encodings.get(site) as Encoding;
      const noise = (what: string) => golden.noise('quant-sim', `${what}.${key}`);
      const offset = want(tensors, `offset.${key}`);
      const includesZero = !widened.includes(site) && !site.endsWith('layernorm.weight');
      if (includesZero || spec.symmetric) {
        const middle = spec.symmetric ? 2 ** (spec.bits - 1) : 0;
        complaints.add(`${site} scale`, close.elementwise(encoding.scale, data, noise('scale')));
        complaints.add(
          `${site} offset`,
          close.offsets(
            Array.from(encoding.zeroPoint, (z) => z - middle),
            offset,
            noise('offset'),
          ),
        );
      } else {
        const values = site.endsWith('.weight')
          ? await input.weights.read(site)
          : Object.values(input.ranges.get(site) ?? {});
        const grid = referenceGrid(
          { min: Float32Array.of(Math.min(...values)), max: Float32Array.of(Math.max(...values)) },
          spec,
        );
        complaints.add(`${site} scale`, close.elementwise(grid.scale, data, noise('scale')));
        complaints.add(`${site} offset`, close.offsets(grid.offset, offset, noise('offset')));
      }
    }
    expectNone(complaints);
  });

  const withSites = [
    ...new Set(names.flatMap((name) => /^site\.sq-modified\.(w\d+a\d+(?:-sym)?)\./.exec(name)?.[1] ?? [])),
  ];
  test.each(withSites.flatMap((precision) => HOW.map((how) => ({ precision, how }))))(
    'every site of sq-modified $precision, $how',
    async ({ precision, how }) => {
      const recipe = recipeOf(precision, false);
      const { config, weights, ranges } = await inputOf(runs, golden, 'modified', recipe);
      const sites = await sitesOf(
        how,
        runtime,
        { config, weights, quantized: { recipe, ranges } },
        golden.evaluation[0] as Int32Array,
      );
      const complaints = new Complaints();
      for (const [site, { data }] of under(await stored(), `site.sq-modified.${precision}.`)) {
        complaints.add(
          site,
          close.elementwiseButFlips(
            sites.get(site) ?? [],
            data,
            golden.noise('quant-sim', `site.sq-modified.${precision}.${site}`),
          ),
        );
      }
      expectNone(complaints);
    },
  );
}

function learning(golden: GoldenCase, runs: CaseRuns, job: Job, flips: string[]): void {
  const stored = once(() => golden.file(job.name));
  const noise = (name: string) => golden.noise(job.name, name);
  const flipped = noise('output.step0').max > 0.005 * noise('output.step0').rms; // one step of an 8-bit site and not of a 16-bit one
  const { steps } = golden.manifest;

  const theirs = Object.values(job.training.steps).flatMap((layer) => layer.map(({ loss }) => loss));
  /** How far the reference's runs are apart at each step; at the first, its float32 run from its float64 one too. */
  const spread = job.training.loss_noise_max.map((apart, step) =>
    step === 0 ? Math.max(apart, Math.abs((theirs[0] as number) - job.training.loss64_step0)) : apart,
  );
  /**
   * The step from which runs part; at once where the reference's float32 gradient of a 16-bit scale has the wrong sign.
   */
  const parted = once(async () => {
    const tensors = await stored();
    const wrong = under(tensors, 'grad64.').some(
      ([name, { data }]) =>
        name.endsWith('.scale') && data.some((g, i) => g * (want(tensors, `grad.${name}`)[i] as number) < 0),
    );
    if (!(await branch()).agrees) return 0;
    return wrong ? 1 : close.partedAt((await run()).losses, theirs, spread);
  });

  /** Nothing keeps a learned scale of the reference above zero: where one has fallen to a tenth, its run is no model any more. */
  const collapsed = once(async () =>
    under(await stored(), 'params.').some(([name, tensor]) => {
      const [first, ...later] = rowsOf(tensor);
      const fallen = (row: Float32Array) => row.some((scale, i) => scale < (first?.[i] as number) / 10);
      return name.endsWith('_quantizer.scale') && later.some(fallen);
    }),
  );

  /** Before the first step, from weights moved by roundings of this seed. */
  const startFrom = async (seed: number) => {
    const given = await inputOf(runs, golden, job.start, job.recipe);
    const input = { ...given, weights: perturbed(given.weights, seed) };
    const session = startSession(runtime, 'golden', input, job.options);
    const { programs, learnables } = session;
    const sample = golden.calibration[0] as Int32Array;
    const x: Value = await embed(input.config, input.weights, sample);
    const aim = want(await stored(), 'target.step0');
    if (job.endToEnd) {
      const result = await endToEndGradients(session, input, sample, aim, job.options.extraLoss ? 2 : 1);
      const decoder = createDecoder(runtime, input.config, input.weights);
      return { session, target: await decoder.hidden(sample), ...result };
    }
    const first = learnables[0] as (typeof learnables)[0];
    const target = await programs.float(0, x);
    const targets = job.options.extraLoss ? [target, target] : [target];
    const { loss, gradients } = await programs.loss(0, x, targets, first);
    const named = Object.fromEntries(Object.entries(gradients).map(([name, g]) => [`0/${name}`, g]));
    return {
      session,
      target: target.data as Float32Array,
      output: (await programs.forward(0, x, first)).data as Float32Array,
      loss,
      gradients: named,
    };
  };
  type Start = Awaited<ReturnType<typeof startFrom>>;

  const complaintsOf = async ({ target, output, loss }: Start): Promise<Complaints> => {
    const tensors = await stored();
    const complaints = new Complaints();
    complaints.add('target', close.elementwise(target, want(tensors, 'target.step0'), noise('target.step0')));
    complaints.add('output', close.elementwiseButFlips(output, want(tensors, 'output.step0'), noise('output.step0')));
    complaints.add('loss', close.loss(loss, job.training.loss64_step0, job.training.loss_noise_max[0] as number));
    return complaints;
  };

  const gradientComplaints = async ({ gradients }: Start): Promise<Complaints> => {
    const tensors = await stored();
    const complaints = new Complaints();
    const noisy = new Complaints();
    const resolve = resolveRecipe(job.recipe);
    for (const [name, { data }] of under(tensors, 'grad64.')) {
      const context = { single: want(tensors, `grad.${name}`), noise: noise(`grad.${name}`), flipped };
      const fine = name.endsWith('_quantizer.scale') && resolve(name.replace('_quantizer.scale', ''))?.bits === 16;
      (fine ? noisy : complaints).add(name, close.gradient(gradients[parameterName(name)] ?? [], data, context));
    }
    // The gradient of a 16-bit scale is one number, what is left of many rounding errors: one sample of its noise says little.
    if (noisy.list.length > noisy.count / 3) complaints.list.push(...noisy.list);
    return complaints;
  };

  /**
   * The reference's numbers must be those of a run that differs from ours by roundings alone: a value on a step falls on one side in
   * one sum and on the other in another. This is the first such run that agrees; or ours as it is, off by what a flip does.
   */
  const branch = once(async (): Promise<{ seed: number; agrees: boolean }> => {
    for (const seed of SEEDS) {
      const begun = await startFrom(seed);
      const lists = [(await complaintsOf(begun)).list, (await gradientComplaints(begun)).list];
      if (lists.flat().length === 0) return { seed, agrees: true };
    }
    flips.push(job.name);
    return { seed: 0, agrees: false };
  });
  const start = once(async () => startFrom((await branch()).seed));

  /** All steps, with the parameters after each. */
  const runFrom = async (seed: number) => {
    const given = await inputOf(runs, golden, job.start, job.recipe);
    const input = { ...given, weights: perturbed(given.weights, seed) };
    const losses: number[] = [];
    const after: Tree[] = [];
    const copy = (tree: Tree): Tree => Object.fromEntries(Object.entries(tree).map(([name, p]) => [name, p.slice()]));
    const learn = job.endToEnd ? learnEndToEnd : learnLayerWise;
    const learned = await learn(runtime, input, {
      ...job.options,
      onProgress: ({ loss }) => losses.push(loss as number),
      saveEvery: -1, // after every step
      store: {
        load: async () => undefined,
        save: async ({ parameters }: LearningState) => void after.push(copy(parameters)),
      },
    });
    return { input, losses, after, fused: await fuseLearned(learned, input) };
  };
  const run = once(async () => runFrom((await branch()).seed));

  describe(job.name, () => {
    test('learning rates', () => {
      for (const { step, lr } of job.steps) {
        lr.forEach((rate, group) => {
          const ours = learningRateAt(job.options.rates[GROUPS[group] as 'let'], step, job.steps.length);
          expect(Math.abs(ours / rate - 1)).toBeLessThan(1e-9);
        });
      }
    });

    test('target, output and loss before the first step', async () => {
      const begun = await start();
      if ((await branch()).agrees) return expectNone(await complaintsOf(begun));
      expect(Math.abs(begun.loss / job.training.loss64_step0 - 1)).toBeLessThan(0.01);
      expect(close.relativeError(begun.target, want(await stored(), 'target.step0'))).toBeLessThan(1e-5);
      expect(close.relativeError(begun.output, want(await stored(), 'output.step0'))).toBeLessThan(0.04);
    });

    test('every gradient before the first step', async () => {
      const begun = await start();
      const known = new Set(under(await stored(), 'grad64.').map(([name]) => parameterName(name)));
      expect(Object.keys(begun.gradients).filter((name) => !known.has(name))).toEqual([]);
      if ((await branch()).agrees) return expectNone(await gradientComplaints(begun));
      const errors = under(await stored(), 'grad64.').map(([name, { data }]) =>
        close.relativeError(begun.gradients[parameterName(name)] ?? [], data),
      );
      expect(close.flippedGradients(errors)).toBeUndefined();
    });

    test('losses of all steps', async (context) => {
      if (await collapsed()) context.skip('a learned scale of the reference fell to nothing');
      const { losses } = await run();
      expect(close.losses(losses, theirs, spread, await parted())).toBeUndefined();
    });

    test(`parameters at the start and after ${steps.slice(1).join(', ')} steps`, async (context) => {
      if (await collapsed()) context.skip('a learned scale of the reference fell to nothing');
      const { session } = await start();
      const { after } = await run();
      const tensors = await stored();
      const first: Tree = Object.fromEntries(
        session.learnables.flatMap(({ parameters }, layer) =>
          Object.entries(parameters).map(([name, { data }]) => [`${layer}/${name}`, data as Float32Array]),
        ),
      );
      const complaints = new Complaints();
      const since = await parted();
      const { agrees } = await branch();
      for (const [name, tensor] of under(tensors, 'params.')) {
        const own = parameterName(name);
        const group = GROUPS.indexOf(parameterGroup(own.slice(own.indexOf('/') + 1)));
        const rates = job.steps.map(({ lr }) => lr[group] as number);
        rowsOf(tensor).forEach((target, i) => {
          const step = steps[i] as number;
          const got = (step === 0 ? first : (after[step - 1] as Tree))[own] ?? [];
          const where = `${name} after ${step}`;
          if (name.endsWith('_quantizer.offset') && step <= 1) return complaints.add(where, close.offsets(got, target));
          if (step === 0) return complaints.add(where, close.elementwise(got, target));
          if (step === 1) {
            const gradients = [want(tensors, `grad64.${name}`), want(tensors, `grad.${name}`)] as const;
            return complaints.add(
              where,
              close.firstStep(got, target, gradients, {
                noise: noise(`grad.${name}`),
                rate: rates[0] as number,
                flipped: !agrees,
              }),
            );
          }
          // Once parted, a scalar may have walked the other way, and of many some.
          const walked = rates.slice(0, step).reduce((sum, rate) => sum + rate, 0);
          // Shifts are kept a hundredth away from zero: some lie on the other side of it.
          const sides = name.endsWith('_shift') ? 0.02 * Math.sqrt(Math.max(2 / target.length, 0.05)) : 0;
          const offsetStep = name.endsWith('_quantizer.offset') ? 1 : 0; // may have been rounded the other way
          const slack =
            (step <= since && GROUPS[group] !== 'lrl'
              ? 0.1 * (rates[0] as number)
              : (target.length === 1 ? 2 : 0.5) * walked) +
            sides +
            offsetStep;
          return complaints.add(where, close.onTheWhole(got, target, { noise: noise(`params.${name}`), slack }));
        });
      }
      expectNone(complaints);
    });

    test('the fused model: weights, ranges, logits', async (context) => {
      if (await collapsed()) context.skip('a learned scale of the reference fell to nothing');
      const { input, fused } = await run();
      const tensors = await stored();
      const complaints = new Complaints();
      const walked =
        (await parted()) < theirs.length ? job.steps.reduce((sum, { lr }) => sum + (lr[0] as number), 0) : 0; // LET's scales
      for (const [name, { data }] of under(tensors, 'final.weight.')) {
        // The reference's model has biases in all linears, of zeros where nothing was shifted.
        const got = fused.weights.has(name) ? await fused.weights.read(name) : new Float32Array(data.length);
        const slack = 0.5 * walked * close.rms(data);
        complaints.add(name, close.onTheWhole(got, data, { noise: noise(`final.weight.${name}`), slack }));
      }
      const programs = simulate(runtime, fused);
      const head = createDecoder(runtime, runs.config, input.weights);
      const hidden: Float32Array[] = [];
      const logits: Float32Array[] = [];
      for (const tokens of golden.evaluation) {
        hidden.push(await hiddenBy(programs, fused.config, fused.weights, tokens));
        logits.push(await head.logits(hidden.at(-1) as Float32Array));
      }
      const last = `hidden.layer${runs.config.layers - 1}`;
      for (const [name, got, float] of [
        ['final.logits', logits, 'logits'],
        ['final.hidden', hidden, last],
      ] as const) {
        complaints.add(name, close.sameError(joined(got), want(tensors, name), want(golden.float, float), noise(name)));
      }
      const total = job.steps.reduce((sum, { lr }) => sum + (lr[2] ?? 0), 0);
      const resolve = resolveRecipe(job.recipe);
      for (const [module, ports] of Object.entries(golden.ranges.after_training[job.name] ?? {})) {
        for (const [port, range] of Object.entries(ports)) {
          const site = `${module}.${port}`;
          const spec = resolve(site);
          if (!spec) continue;
          const { min, max } = fused.ranges.get(site) ?? { min: Number.NaN, max: Number.NaN };
          const levels = 2 ** spec.bits - 1;
          // A scale may have gone the other way, an offset have been rounded the other way.
          const slack = Math.max(2 * total * levels, (range[1] - range[0]) / levels);
          complaints.add(site, close.elementwise([min, max], range, { ...close.SILENT, max: slack / 5 }));
        }
      }
      expectNone(complaints);
      await programs.release();
    });
  });
}

function device(golden: GoldenCase): void {
  const tensors = golden.device;
  const jobs = [...new Set([...tensors.keys()].flatMap((name) => /^(.+)\.context\.logits$/.exec(name)?.[1] ?? []))];
  if (jobs.length === 0) return;

  test('rotary tables of the device form', () => {
    const [cos, sin] = [want(tensors, 'cos'), want(tensors, 'sin')];
    const ours = ropeTables(golden.config, cos.length / golden.config.headDim);
    expect(close.elementwise(ours.cos, cos)).toBeUndefined();
    expect(close.elementwise(ours.sin, sin)).toBeUndefined();
  });

  describe.each(jobs)('device form of %s', (job) => {
    const model = once(async () => {
      const fused = new Map(under(await golden.file(job), 'final.weight.').filter(([name]) => !name.endsWith('.bias')));
      expect(fused.size).toBeGreaterThan(0);
      return deviceForm(quantizedForm(golden.config, 'reference'), replaced(golden.weights, fused));
    });
    const get = (name: string): GoldenTensor => tensors.get(`${job}.${name}`) as GoldenTensor;
    const tokensOf = (name: string) => Int32Array.from(want(tensors, `${job}.${name}`));
    const stored = under(tensors, `${job}.weight.`);

    test.skipIf(stored.length === 0)('folded weights', async () => {
      const { weights } = await model();
      const complaints = new Complaints();
      for (const [name, { data, shape }] of stored) {
        if (name.endsWith('.scale')) continue;
        const scale = stored.find(([other]) => other === name.replace(/\.linear\.weight$/, '.scale'))?.[1].data;
        const whole =
          scale && name.endsWith('.linear.weight')
            ? data.map((w, i) => w * (scale[Math.floor(i / (shape[1] as number))] as number))
            : data;
        const own = name.replace('.linear.', '.');
        complaints.add(
          name,
          close.elementwise(await weights.read(own.startsWith('lm_head') ? own : `model.${own}`), whole),
        );
      }
      expectNone(complaints);
    });

    test.each(HOW)('prompt, %s', async (how) => {
      const { config, weights } = await model();
      const context = { cos: tensors.get('cos'), sin: tensors.get('sin'), mask: tensors.get('mask') } as Record<
        'cos' | 'sin' | 'mask',
        GoldenTensor
      >;
      const result = await runDevice(how, runtime, { config, weights, tokens: tokensOf('context.input_ids'), context });
      const complaints = new Complaints();
      complaints.add('logits', close.elementwise(result.logits, get('context.logits').data));
      complaints.add('keys', close.elementwise(result.keys, get('context.k').data));
      complaints.add('values', close.elementwise(result.values, get('context.v').data));
      expectNone(complaints);
    });

    test.each(HOW)('next token, %s', async (how) => {
      const { config, weights } = await model();
      const mask = get('decode.mask');
      const position = mask.data.filter((m) => m === 0).length - 1;
      const table = (name: string): GoldenTensor => {
        const { data } = tensors.get(name) as GoldenTensor;
        return {
          data: data.subarray(position * config.headDim, (position + 1) * config.headDim),
          shape: [1, config.headDim],
        };
      };
      const [caches, values] = [rowsOf(get('decode.k_cache')), rowsOf(get('decode.v_cache'))];
      const past = caches.map((keys, layer) => ({ keys, values: values[layer] as Float32Array }));
      const context = { cos: table('cos'), sin: table('sin'), mask };
      const result = await runDevice(how, runtime, {
        config,
        weights,
        tokens: tokensOf('decode.input_id'),
        context,
        past,
      });
      const complaints = new Complaints();
      complaints.add('logits', close.elementwise(result.logits, get('decode.logits').data));
      complaints.add('keys', close.elementwise(result.keys, get('decode.k').data));
      complaints.add('values', close.elementwise(result.values, get('decode.v').data));
      expectNone(complaints);
    });
  });
}
