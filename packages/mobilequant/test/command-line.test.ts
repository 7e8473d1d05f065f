import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from './run.ts';
import { tinyText, writeTinyModel } from './tiny-model.ts';

let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-test-'));
  await writeTinyModel(join(directory, 'model'));
  await writeFile(join(directory, 'calibration.txt'), tinyText(400, 1));
  await writeFile(join(directory, 'test.txt'), tinyText(200, 2));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const mobilequant = (...args: string[]) => run(directory, args);

const CALIBRATION = ['--calibration', 'calibration.txt', '--samples', '4', '--tokens', '16', '--threads', '1'];
const COMMANDS = [
  ...[
    'quantize',
    'observe',
    'evaluate',
    'report',
    'merge',
    'export',
    'lint',
    'convert',
    'all',
    'encodings',
    'generate',
  ],
  ...['device compile', 'device emulate', 'device benchmark', 'device list'],
];
const PROMPT = tinyText(8, 3);
const MEASURE = ['--data', 'test.txt', '--tokens', '16', '--windows', '3', '--threads', '1', '--json'];

const quantize = (out: string, ...more: string[]) =>
  mobilequant('quantize', 'model', '--recipe', 'w8a8', '--out', out, ...CALIBRATION, ...more);

describe('from a model to an exported one', () => {
  test('quantize writes a model directory whose float, simulated and integer forms can be measured', async () => {
    const done = await quantize('minmax', '--method', 'minmax', '--json');
    expect(done.reports).toBe('');
    expect(JSON.parse(done.out)).toMatchObject({
      recipe: 'w8a8',
      method: 'minmax',
      directory: join(directory, 'minmax'),
    });

    const results = new Map<
      string,
      { tokenPerplexity: number; wordPerplexity: number; tokens: number; seconds: number }
    >();
    for (const form of ['float', 'simulated', 'integer']) {
      results.set(form, JSON.parse((await mobilequant('evaluate', 'minmax', ...MEASURE, '--form', form)).out));
    }
    const original = JSON.parse((await mobilequant('evaluate', 'model', ...MEASURE, '--form', 'float')).out);
    const perplexity = (form: string) => results.get(form)?.tokenPerplexity as number;
    expect(results.get('float')).toMatchObject({
      tokens: 45,
      seconds: expect.any(Number),
      wordPerplexity: expect.any(Number),
    });
    expect(perplexity('float')).toBe(original.tokenPerplexity);
    expect(perplexity('simulated')).not.toBe(perplexity('float'));
    expect(perplexity('simulated') / perplexity('float')).toBeCloseTo(1, 1);
    expect(perplexity('integer') / perplexity('simulated')).toBeCloseTo(1, 3);
  });

  test('export for an NPU writes a graph and the one that prepares its inputs', async () => {
    const args = [
      'export',
      'minmax',
      '--target',
      'qnn-qdq',
      '--out',
      'npu',
      '--tokens',
      '16',
      '--context',
      '32',
      '--json',
    ];
    const { status, out } = await mobilequant(...args);
    expect(status).toBe(0);
    expect(Object.keys(JSON.parse(out).files)).toEqual(
      expect.arrayContaining([
        'prefill.onnx',
        'prefill-inputs.onnx',
        'decode.onnx',
        'decode-inputs.onnx',
        'tokenizer.json',
      ]),
    );
    expect((await mobilequant(...args)).status).toBe(0); // replaces its own
    const { status: refused, reports } = await mobilequant('export', 'minmax', '--out', 'never', '--context', '32');
    expect({ refused, reports }).toMatchObject({ refused: 2, reports: expect.stringContaining('--context') });
  });

  test('generate goes on with a text, from an export for an NPU as from the model that it was made of', async () => {
    await mobilequant('export', 'minmax', '--target', 'qnn-qdq', '--out', 'npu', '--tokens', '16', '--context', '32');
    const options = ['--prompt', PROMPT, '--tokens', '6', '--json'];
    const said = async (...args: string[]) => JSON.parse((await mobilequant('generate', ...args, ...options)).out);
    const npu = await said('npu', '--form', 'integer');
    expect(npu.tokens).toHaveLength(6);
    expect((await said('npu', '--form', 'integer')).tokens).toEqual(npu.tokens);
    expect((await said('minmax', '--form', 'integer')).tokens).toEqual((await said('minmax')).tokens);
    const [first] = npu.tokens;
    expect((await said('npu', '--form', 'integer', '--stop', `${first}`)).tokens).toEqual([]);
    const drawn = await said('minmax', '--temperature', '2', '--seed', '3');
    expect((await said('minmax', '--temperature', '2', '--seed', '3')).tokens).toEqual(drawn.tokens);
    expect((await said('minmax', '--temperature', '2', '--seed', '4')).tokens).not.toEqual(drawn.tokens);
  });

  test('an export for other runtimes goes on with a text by its cache, as the model does by reading all again', async () => {
    const options = ['--prompt', PROMPT, '--tokens', '4', '--json'];
    const said = async (...args: string[]) => JSON.parse((await mobilequant('generate', ...args, ...options)).out);
    const { tokens } = await said('minmax');
    expect(tokens).toHaveLength(4);
    for (const [target, ...files] of [
      ['transformers-js', 'config.json', 'generation_config.json', 'onnx/model_quantized.onnx', 'tokenizer.json'],
      ['genai', 'genai_config.json', 'model.onnx', 'tokenizer.json'],
    ] as const) {
      const done = await mobilequant('export', 'minmax', '--target', target, '--out', target, '--json');
      expect(Object.keys(JSON.parse(done.out).files)).toEqual(expect.arrayContaining(files));
      expect((await said(target, '--form', 'integer')).tokens).toEqual(tokens);
      const fixed = await mobilequant('export', 'minmax', '--target', target, '--out', 'never', '--tokens', '16');
      expect(fixed.reports).toContain('--tokens');
    }
  });

  test('export writes what evaluate can measure', async () => {
    expect(
      (await mobilequant('export', 'minmax', '--target', 'onnx', '--out', 'exported', '--tokens', '16')).status,
    ).toBe(0);
    expect(await readdir(join(directory, 'exported'))).toEqual(
      expect.arrayContaining(['model.onnx', 'tokenizer.json']),
    );
    const exported = JSON.parse((await mobilequant('evaluate', 'exported', ...MEASURE, '--form', 'integer')).out);
    const fresh = JSON.parse((await mobilequant('evaluate', 'minmax', ...MEASURE, '--form', 'integer')).out);
    expect(exported.tokenPerplexity).toBe(fresh.tokenPerplexity);

    const against = ['evaluate', 'exported', ...MEASURE, '--form', 'integer', '--reference'];
    const { comparison } = JSON.parse((await mobilequant(...against, 'minmax')).out);
    const simulated = JSON.parse((await mobilequant('evaluate', 'minmax', ...MEASURE)).out);
    expect(comparison.tokenPerplexity / simulated.tokenPerplexity).toBeCloseTo(1, 6);
    expect((comparison.tokenPerplexity * comparison.ratio) / exported.tokenPerplexity).toBeCloseTo(1, 6);
    const float = await mobilequant(...against, 'model');
    expect(float).toMatchObject({
      status: 2,
      reports: expect.stringContaining('--reference: expected a quantized model'),
    });
  });

  test.each([
    ['w8a8', 'fast', '--prefix', '0,5'],
    ['w4a8', 'best', '--prefix', '0', '--tuning', '3', '--sweeps', '2', '--reconstruction', '1'],
  ])('%s by the preset %s: the same forms, all behind one prefix', async (recipe, preset, ...steps) => {
    const options = ['--recipe', recipe, '--method', preset, ...steps, '--json', '--out', preset, ...CALIBRATION];
    const done = await mobilequant('quantize', 'model', ...options);
    expect(done).toMatchObject({ status: 0, reports: expect.not.stringContaining('rror') });
    const config = JSON.parse(await readFile(join(directory, preset, 'config.json'), 'utf8'));
    expect(config.mobilequant.prefix).toEqual((steps[1] as string).split(',').map(Number));

    const perplexity = async (form: string): Promise<number> =>
      JSON.parse((await mobilequant('evaluate', preset, ...MEASURE, '--form', form)).out).tokenPerplexity;
    const [float, simulated, integer] = [
      await perplexity('float'),
      await perplexity('simulated'),
      await perplexity('integer'),
    ];
    expect(Math.abs(simulated / float - 1)).toBeLessThan(recipe === 'w8a8' ? 0.05 : 0.4);
    expect(integer / simulated).toBeCloseTo(1, 3);
    const against = ['evaluate', preset, ...MEASURE, '--form', 'integer', '--reference', 'model'];
    const { comparison } = JSON.parse((await mobilequant(...against)).out);
    expect(comparison).toMatchObject({ with: 'reference' });
    expect(Math.exp(Math.log(comparison.tokenPerplexity) + Math.log(comparison.ratio)) / integer).toBeCloseTo(1, 5);
    expect(Math.abs(comparison.tokenPerplexity / float - 1)).toBeGreaterThan(1e-6); // the directory's weights are rounded
    const told = await mobilequant('evaluate', preset, ...MEASURE, '--form', 'integer', '--compare', 'float');
    expect(told.reports).toContain('which were rounded; compare with --reference');
    const both = await mobilequant(...against, '--compare', 'float');
    expect(both).toMatchObject({ status: 2, reports: expect.stringContaining('--reference: expected no --compare') });

    const { options: noted, tuning } = JSON.parse(await readFile(join(directory, preset, 'quantization.json'), 'utf8'));
    const { plan, training } = noted;
    if (preset === 'best') {
      expect(training).toMatch(/^7 /); // 3 + 4: another one for each step, and 4 held out
      expect(tuning.evaluations.map(({ step }: { step: number }) => step)).toEqual([0, 3]);
    } else expect(tuning).toBeUndefined();
    expect(plan).toMatchObject({ prefix: config.mobilequant.prefix, rounding: 'gptq' });
  });

  test('a budget moves sites to 16 bits, in all forms, and the recipe says which', async () => {
    const options = ['--prefix', 'none', '--budget', '0.2', '--json'];
    const { status, out, reports } = await quantize('budget', '--method', 'fast', ...options);
    expect({ status, reports }).toMatchObject({ status: 0, reports: expect.stringContaining('16 bits for') });
    const { moved, cost, before, after } = JSON.parse(out).placement;
    expect(cost).toBeLessThanOrEqual(0.2);
    expect(after).toBeLessThan(before);
    const made = JSON.parse(await readFile(join(directory, 'budget', 'quantization.json'), 'utf8'));
    expect(made).toMatchObject({
      recipe: { name: 'w8a8+0.2' },
      options: { plan: { budget: 0.2 }, placement: { cost } },
    });
    for (const site of moved) expect(made.encodings[site]).toMatchObject({ bits: 16 });

    const perplexity = async (form: string): Promise<number> =>
      JSON.parse((await mobilequant('evaluate', 'budget', ...MEASURE, '--form', form)).out).tokenPerplexity;
    expect((await perplexity('integer')) / (await perplexity('simulated'))).toBeCloseTo(1, 3);
  });

  test('steps of a plan belong to a preset', async () => {
    const { status, reports } = await quantize('never', '--method', 'minmax', '--rounding', 'gptq');
    expect({ status, reports }).toMatchObject({
      status: 2,
      reports: expect.stringContaining('--rounding: expected a preset'),
    });
  });

  test('a smoothed model is the same float function', async () => {
    await quantize('smooth', '--method', 'smoothquant');
    const { out } = await mobilequant('evaluate', 'smooth', ...MEASURE, '--form', 'float');
    const original = await mobilequant('evaluate', 'model', ...MEASURE, '--form', 'float');
    expect(JSON.parse(out).tokenPerplexity / JSON.parse(original.out).tokenPerplexity).toBeCloseTo(1, 5);
  });

  test('what was written says how it was made, without a path of this machine', async () => {
    const text = await readFile(join(directory, 'minmax', 'quantization.json'), 'utf8');
    expect(text).not.toContain(directory);
    expect(JSON.parse(text)).toMatchObject({
      format: 1,
      source: 'model',
      method: 'minmax',
      form: { norm: 'l2' },
      recipe: { name: 'w8a8' },
    });
  });

  test('says what the rounding of each site does to the logits', async () => {
    const measured = await mobilequant('evaluate', 'minmax', ...MEASURE, '--divergence', 'sites');
    const { kinds, sites } = JSON.parse(measured.out).divergence;
    expect(kinds['mlp.w1.weight']).toBeGreaterThan(0);
    expect(Object.values(kinds)).toEqual(Object.values<number>(kinds).sort((a, b) => b - a));
    expect(Object.keys(sites)).toEqual(expect.arrayContaining(['model.layers.1.mlp.w3.output', 'lm_head.weight']));
    expect(sites).not.toHaveProperty(['model.layers.0.mlp.w2.output']); // 16 bits

    const people = MEASURE.filter((option) => option !== '--json');
    const { out } = await mobilequant('evaluate', 'minmax', ...people, '--divergence', 'kinds');
    expect(out).toMatch(/in thousandths of a nat:\n\S+ +[\d.e-]+\n/);
    expect(out).not.toContain('single sites');
  });

  test('forms can be compared, and layers and sites', async () => {
    const more = ['--compare', 'simulated', '--layers', '--sites'];
    const { out } = await mobilequant('evaluate', 'minmax', ...MEASURE, '--form', 'integer', ...more);
    const { comparison, tokenPerplexity, layers, sites } = JSON.parse(out);
    expect(comparison).toMatchObject({ with: 'simulated', tokens: 48 });
    expect(comparison.agreement).toBeGreaterThan(0.9);
    expect(comparison.ratio).toBeCloseTo(tokenPerplexity / comparison.tokenPerplexity, 10);
    expect(comparison.standardError).toBeGreaterThanOrEqual(0);
    expect(layers).toHaveLength(2);
    const [w8, a16] = ['mlp.w1.weight', 'mlp.w2.output'].map((site) => sites[`model.layers.0.${site}`].own);
    expect(w8).toBeGreaterThan(30);
    expect(a16).toBeGreaterThan(80);
  });

  test('a recipe of the user extends a built-in one', async () => {
    const recipe = { name: 'mine', extends: 'w8a8', rules: [{ site: 'model.layers.*.mlp.w2.input', spec: null }] };
    await writeFile(join(directory, 'mine.json'), JSON.stringify(recipe));
    await mobilequant(
      'quantize',
      'model',
      '--recipe',
      'mine.json',
      '--method',
      'minmax',
      '--out',
      'mine',
      ...CALIBRATION,
    );
    const { encodings } = JSON.parse(await readFile(join(directory, 'mine', 'quantization.json'), 'utf8'));
    expect(encodings).toHaveProperty(['model.layers.0.mlp.w2.output']);
    expect(encodings).not.toHaveProperty(['model.layers.0.mlp.w2.input']);
  });

  test('all does everything and ends in a table', async () => {
    const { status, out } = await mobilequant(
      ...['all', 'model', '--recipes', 'w8a8', '--methods', 'minmax,mobilequant', '--epochs', '1', '--out', 'all'],
      ...[...CALIBRATION, '--data', 'test.txt', '--windows', '2'],
    );
    expect(status).toBe(0);
    expect(out.split('\n').map((line) => line.split('  ')[0])).toEqual([
      'perplexity',
      '-----------',
      'float',
      'min-max',
      'MobileQuant',
      '',
      join(directory, 'all'),
    ]);
    expect(await readdir(join(directory, 'all', 'w8a8-mobilequant', 'onnx'))).toContain('model.onnx');
  });
});

describe('a float model in any form that quantize takes', () => {
  const gguf = fileURLToPath(new URL('../../checkpoint/test/fixtures/gguf/tiny.gguf', import.meta.url));
  const FLOAT = ['--form', 'float', '--threads', '1', '--json'];
  afterEach(() => vi.unstubAllEnvs());

  const measured = async (model: string) => {
    const { out, reports } = await mobilequant('evaluate', model, '--data', 'test.txt', '--tokens', '16', ...FLOAT);
    expect(reports).toBe('');
    return JSON.parse(out).tokenPerplexity as number;
  };
  const said = async (model: string, prompt: string) => {
    const { out, reports } = await mobilequant('generate', model, '--prompt', prompt, '--tokens', '6', ...FLOAT);
    expect(reports).toBe('');
    return JSON.parse(out).tokens as number[];
  };

  test('a GGUF file, or a directory with one, is what it is as a directory', async () => {
    await mobilequant('convert', gguf, '--out', 'from-gguf');
    await mkdir(join(directory, 'with-gguf'));
    await cp(gguf, join(directory, 'with-gguf', 'tiny.gguf'));
    for (const model of [gguf, 'with-gguf']) {
      expect(await measured(model)).toBe(await measured('from-gguf'));
      expect(await said(model, 'the cat')).toEqual(await said('from-gguf', 'the cat'));
    }
  });

  test('a model on the hub is found in the cache, and asked for in its float form alone', async () => {
    vi.stubEnv('XDG_CACHE_HOME', join(directory, 'cache'));
    await cp(join(directory, 'model'), join(directory, 'cache/mobilequant/models/someone--small/main'), {
      recursive: true,
    });
    expect(await measured('someone/small')).toBe(await measured('model'));
    expect(await said('someone/small', PROMPT)).toEqual(await said('model', PROMPT));
    for (const args of [
      ['evaluate', 'someone/small', ...MEASURE],
      ['generate', gguf, '--prompt', PROMPT],
    ])
      expect(await mobilequant(...args)).toMatchObject({ status: 1, reports: expect.stringContaining('--form float') });
  });
});

describe('generate begins a prompt', () => {
  const said = async (model: string, prompt: string, form: string) => {
    const options = ['--prompt', prompt, '--tokens', '8', '--form', form, '--threads', '1', '--json'];
    return JSON.parse((await mobilequant('generate', model, ...options)).out).tokens as number[];
  };
  /** A copy of a directory whose tokenizer puts `<s>` before a text. */
  const withBeginning = async (from: string, to: string) => {
    await cp(join(directory, from), join(directory, to), { recursive: true });
    const file = join(directory, to, 'tokenizer.json');
    const special = { SpecialToken: { id: '<s>', type_id: 0 } };
    const processor = {
      type: 'TemplateProcessing',
      single: [special, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    };
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, 'utf8')), post_processor: processor }));
  };

  test('as the tokenizer does, where no prefix stands there', async () => {
    await quantize('bare', '--method', 'minmax');
    for (const [model, form] of [
      ['model', 'float'],
      ['bare', 'simulated'],
      ['bare', 'integer'],
    ] as const) {
      await withBeginning(model, 'begun');
      const begun = await said('begun', PROMPT, form);
      expect(begun).toEqual(await said(model, `<${PROMPT}`, form)); // '<' is unknown, and stands for `<s>`
      expect(begun).not.toEqual(await said(model, PROMPT, form));
    }
  });

  test('behind a prefix as it is, and for an export', async () => {
    await quantize('behind', '--method', 'fast', '--prefix', '0,5');
    await mobilequant('export', 'bare', '--out', 'bare-exported', '--tokens', '32');
    for (const [model, form] of [
      ['behind', 'float'],
      ['behind', 'simulated'],
      ['bare-exported', 'integer'],
    ] as const) {
      await withBeginning(model, 'not-begun');
      expect(await said('not-begun', PROMPT, form)).toEqual(await said(model, PROMPT, form));
      await rm(join(directory, 'not-begun'), { recursive: true });
    }
  });
});

describe.each(['stablelm', 'phi'])('a %s, whose LayerNorms a rotation folds', (name) => {
  const model = fileURLToPath(new URL(`../../core/test/fixtures/${name}`, import.meta.url));
  const ids = 'ids.safetensors:ids';

  beforeAll(async () => {
    const data = Int32Array.from({ length: 4 * 16 }, (_, i) => (5 * i + i * i) % 96);
    await writeSafetensors(join(directory, 'ids.safetensors'), [
      { name: 'ids', dtype: 'int32', shape: [4, 16], data: () => data },
    ]);
    const options = ['--method', 'fast', '--prefix', '1,7', '--samples', '4', '--tokens', '16', '--threads', '1'];
    const done = await mobilequant('quantize', model, '--out', name, '--calibration', ids, ...options);
    expect(done).toMatchObject({ status: 0, reports: '' });
  });

  test('can be measured in all forms', async () => {
    const perplexity = async (form: string): Promise<number> => {
      const measure = ['--data', ids, '--tokens', '16', '--threads', '1', '--json', '--form', form];
      const { out, reports } = await mobilequant('evaluate', name, ...measure);
      expect(reports).toBe('');
      return JSON.parse(out).tokenPerplexity;
    };
    const [float, simulated, integer] = [
      await perplexity('float'),
      await perplexity('simulated'),
      await perplexity('integer'),
    ];
    expect(Math.abs(simulated / float - 1)).toBeLessThan(0.05);
    expect(integer / simulated).toBeCloseTo(1, 3);
  });

  test('cannot be written with the norms that its config says', async () => {
    const { status, reports } = await mobilequant('convert', name, '--out', 'never');
    expect({ status, reports }).toMatchObject({ status: 1, reports: expect.stringContaining('expected LayerNorms') });
  });
});

describe('mistakes', () => {
  test.each([
    [['quantise'], 'expected a command: quantize, observe, evaluate, report, merge, export, lint, convert'],
    [['quantize', 'model', '--reciep', 'w8a8'], "Unknown option '--reciep'. Options: --recipe"],
    [['quantize', 'model', '--recipe', 'w9a9', '--out', 'x', ...CALIBRATION], 'one of w8a8, w4a8'],
    [['quantize', 'model', '--recipe', 'w8a8', '--calibration', 'calibration.txt'], '--out: expected DIR'],
    [
      ['quantize', 'model', '--recipe', 'w8a8', '--method', 'magic'],
      '--method: expected fast, best, minmax, smoothquant, omniquant, mobilequant, got ',
    ],
    [
      ['quantize', 'model', '--recipe', 'w8a8', '--calibration', 'calibration.txt', '--samples', '1.5'],
      '--samples: expected a whole number of at least 1',
    ],
    [['evaluate', '--data', 'test.txt'], 'expected DIR before the options'],
    [['evaluate', 'model', 'more', '--data', 'test.txt'], "got 'more' too"],
  ])('%j ends with status 2 and says what is allowed', async (args, message) => {
    const { status, reports, out } = await mobilequant(...args);
    expect(reports).toContain('mobilequant: ');
    expect(reports).toContain(message);
    expect({ status, out }).toEqual({ status: 2, out: '' });
  });

  test.each([
    [['evaluate', 'nowhere', ...MEASURE], 'no such directory'],
    [['evaluate', 'model', ...MEASURE, '--form', 'simulated'], 'quantization.json'],
    [['evaluate', 'model', '--form', 'float', '--data', 'nothing.txt'], 'no such file'],
    [
      ['evaluate', 'model', '--form', 'float', '--data', 'test.txt', '--tokens', '1000'],
      'a text of at least 1000 tokens, got 200',
    ],
    [['quantize', 'model', '--recipe', 'w8a8', '--out', '.', ...CALIBRATION], 'expected a new or empty directory'],
  ])('%j ends with status 1 and one line', async (args, message) => {
    const { status, reports } = await mobilequant(...args);
    expect(reports).toContain(message);
    expect(reports).not.toContain('\n');
    expect(status).toBe(1);
  });

  test('--verbose says where an error comes from', async () => {
    expect((await mobilequant('evaluate', 'nowhere', ...MEASURE, '--verbose')).reports).toContain('find-model.ts');
  });

  test('a text with fewer windows than asked for is measured, and that is reported', async () => {
    const { status, reports } = await mobilequant(
      'evaluate',
      'model',
      '--form',
      'float',
      '--data',
      'test.txt',
      '--tokens',
      '64',
      '--windows',
      '9',
    );
    expect({ status, reports }).toEqual({
      status: 0,
      reports: 'The text has 3 windows of 64 tokens, 6 fewer than asked for.',
    });
  });
});

test.each(COMMANDS)('the help of %s gives each default once', async (...words) => {
  const { out } = await mobilequant(...words.flatMap((name) => name.split(' ')), '--help');
  expect(out.split('\n').filter((line) => /default.*default/.test(line))).toEqual([]);
});

test('observe takes no options that it does not use', async () => {
  const { out } = await mobilequant('observe', '--help');
  for (const name of ['learn', 'epochs', 'alpha', 'variant']) expect(out).not.toContain(`--${name} `);
});

test('help is printed, of the program and of each command', async () => {
  const overview = await mobilequant('--help');
  expect(overview).toMatchObject({ status: 0, reports: '' });
  for (const name of ['quantize', 'evaluate', 'export', 'convert', 'all']) {
    expect(overview.out).toContain(`mobilequant ${name} `);
    expect((await mobilequant(name, '--help')).out).toMatch(/--\w+ /);
  }
});
