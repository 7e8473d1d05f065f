import { expect, test } from 'vitest';
import type { Config, ModelEntry, TextEntry } from './config.ts';
import { askedOf, rowsOf } from './jobs.ts';
import { percent, resultsMarkdown } from './markdown.ts';
import type { MeasurementRecord, QuantizationRecord, ResultRecord } from './record.ts';
import type { Width } from './rows.ts';

const text: TextEntry = { name: 'prose', data: '$data/prose.txt', tokens: 11 };
const entry: ModelEntry = {
  name: 'small',
  remarks: 'A small one.',
  model: '$models/small',
  calibration: { data: '$data/valid.txt', samples: 4, tokens: 64 },
  texts: [text],
  integer: ['fast'],
  reference: 'theirs.json',
};
const config: Config = { models: [entry, { ...entry, name: 'another' }] };
const made = {
  date: '2025-01-01',
  commit: 'abc',
  node: '24',
  onnxruntime: '1',
  machine: '2 × M',
  threads: 2,
  load: 0.25,
};

const asked = (name: string, width: Width) => {
  const row = rowsOf(entry).find((candidate) => candidate.name === name);
  return row ? askedOf(entry, row, width) : expect.fail(`no row ${name}`);
};
const float: MeasurementRecord = {
  kind: 'measurement',
  asked: { model: 'small', text, form: 'float' },
  subject: {},
  made,
  result: { windows: 2, tokens: 20, perplexity: 30, losses: [30, 40], prefix: [], seconds: 1, peak: 1e9 },
};
const measured = (name: string, width: Width, form: 'simulated' | 'integer'): MeasurementRecord => ({
  ...float,
  asked: { model: 'small', quantization: asked(name, width), text, form },
  result: {
    ...float.result,
    perplexity: 33,
    losses: form === 'simulated' ? [31, 41] : [31.2, 41],
    float: 32,
    logRatio: Math.log(33 / 32),
    standardError: 0.01,
    divergence: 0.0125,
    agreement: 0.915,
    prefix: [1],
  },
});
const quantized = (name: string, width: Width, steps?: Record<string, number>): QuantizationRecord => ({
  kind: 'quantization',
  asked: asked(name, width),
  subject: {},
  made,
  result: { seconds: 100, peak: 1.25e9, prefix: [1], size: 5, ...(steps && { steps }) },
});

const records: ResultRecord[] = [
  float,
  quantized('fast', 'W8A8', { prefix: 20, ranges: 70 }),
  measured('fast', 'W8A8', 'simulated'),
  measured('fast', 'W8A8', 'integer'),
];
const written = (more: readonly ResultRecord[] = []) => resultsMarkdown(config, [...records, ...more]);

test('integers are compared with the simulated model on the windows that both have', () => {
  const few: ModelEntry = { ...entry, rows: ['fast'], compared: 1 };
  const one = measured('fast', 'W8A8', 'simulated');
  const simulated = {
    ...one,
    asked: { ...one.asked, text: { ...text, windows: 1 } },
    result: { ...one.result, windows: 1, tokens: 10, losses: [30] },
  };
  const document = resultsMarkdown({ models: [few] }, [float, measured('fast', 'W8A8', 'integer'), simulated]);
  expect(document).toContain('| fast, prose | w8a8 | 1 | 20.09 | 22.65 | +12.7 % |'); // e^3, e^3.12
});

test('a section a model: conditions in words, then tables of what was measured', () => {
  const few = { models: [{ ...entry, rows: ['sites', 'fast'] }] };
  const document = resultsMarkdown(few, [...records, measured('sites', 'W8A8', 'simulated')]);
  expect(document.slice(document.indexOf('## '))).toMatchInlineSnapshot(`
    "## small

    A small one.

    Calibrated on 4 × 64 tokens of \`valid.txt\`; learned from windows of it at random places (as many, in tuning one for each step), the same for every row but single additions and those of \`fast\`, which have 16 as it does by itself.

    - **prose** (\`prose.txt\`): 2 windows of 11 tokens, 20 scored. Float, without a prefix: 30.

    Made at abc on 2 × M, Node 24, ONNX Runtime 1, threads: 2. The machine's load when a measurement began: 0.3 to 0.3.

    ### W8A8, prose

    |  | recipe | form | windows | perplexity | float | to float | to plain float | KL | equal | time | memory |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | **One addition alone, to min-max with the paper’s sites** |  |  |  |  |  |  |  |  |  |  |  |
    | 16-bit sites | w8a8 | simulated | 2 | 33 | 32 | +3.13 ± 1.03 % | +10.5 ± 0.0 % | 0.01250 | 91.5 % | – | – |
    | **Presets** |  |  |  |  |  |  |  |  |  |  |  |
    | fast | w8a8 | integer | 2 | 33 | 32 | +3.13 ± 1.03 % | +11.6 ± 1.1 % | 0.01250 | 91.5 % | 2 min | 1.25 GB |

    ### Integer and simulated

    |  | recipe | windows | simulated | integer | integer to simulated |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | fast, prose | w8a8 | 2 | 36.60 | 36.97 | +1.01 ± 1.01 % |

    ### Time of each step

    |  | recipe | prefix | ranges | in all | memory | tokens of the prefix |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | fast | w8a8 | 20 s | 70 s | 2 min | 1.25 GB | 1 |
    "
  `);
});

test('nothing is said of models, halves and rows without a measurement', () => {
  expect(written()).not.toContain('another');
  expect(written()).not.toContain('### W4A8');
  expect(written()).not.toContain('SmoothQuant |');
  expect(resultsMarkdown(config, []).split('\n##')).toHaveLength(1);
});

test('in a group of which something was measured, what was not says so', () => {
  const some = { models: [{ ...entry, rows: ['prefix', 'sum-sites', 'sum-gptq', 'smoothquant'] }] };
  const document = resultsMarkdown(some, [
    float,
    measured('prefix', 'W8A8', 'simulated'),
    measured('sum-gptq', 'W8A8', 'simulated'),
  ]);
  const cumulated = document.slice(document.indexOf('**Additions one upon'));
  expect(cumulated).toMatch(
    /\| \+ 16-bit sites \| w8a8 \| not measured \| –(.*–)+ \|\n\| \+ GPTQ \| w8a8 \| simulated \| 2 \|/,
  );
  expect(document).not.toContain('SmoothQuant |');
});

test('of records that answer the same question the newest counts', () => {
  const again = measured('fast', 'W8A8', 'integer');
  expect(written([{ ...again, result: { ...again.result, perplexity: 77.5 } }])).toContain('| 77.50 | 32 |');
});

test('a record of a recipe or a preset that has changed since does not answer', () => {
  const [, ...others] = records;
  const older = others.map((record) => {
    if (record.kind === 'task') return record;
    if (record.kind === 'quantization') return { ...record, asked: { ...record.asked, meaning: 'older' } };
    const { quantization } = record.asked;
    return quantization
      ? { ...record, asked: { ...record.asked, quantization: { ...quantization, meaning: 'older' } } }
      : record;
  });
  expect(resultsMarkdown(config, [float, ...older])).not.toContain('| fast |');
});

test('another implementation stands beside the rows that do the same, with its conditions', () => {
  const reference = {
    implementation: 'theirs',
    conditions: 'On a Tuesday.',
    differences: 'Ours on a Friday.',
    float: 31,
    results: [
      { title: 'min-max', width: 'W8A8' as const, perplexity: 62, row: 'paper-minmax' },
      { title: 'more of it', width: 'W8A8' as const, perplexity: 46.5 },
    ],
  };
  const all = [...records, measured('paper-minmax', 'W8A8', 'simulated')];
  const document = resultsMarkdown(config, all, new Map([['theirs.json', reference]]));
  const section = document.slice(document.indexOf('### Beside'));
  expect(section).toContain('On a Tuesday.\n\nOurs on a Friday.');
  expect(section).toContain('| min-max | W8A8 | 62 | +100 % | 33 | +3.13 ± 1.03 % |');
  expect(section).toContain('| more of it | W8A8 | 46.50 | +50.0 % | – | – |');
  expect(section).toContain('| float |  | 31 |  | 30 |  |');
});

test('per cent have as many digits as they are worth', () => {
  expect(percent(Math.log(1.05), 0.01)).toBe('+5.00 ± 1.05 %');
  expect(percent(Math.log(0.999))).toBe('−0.10 %');
  expect(percent(Math.log(3.3), 0.02)).toBe('+230 ± 7 %');
});
