import { expect, test } from 'vitest';
import { benchmarkTable, comparisonTable, graphResult, summaryOf } from './benchmark-result.ts';

test('mean, median, and what nine of ten do not exceed', () => {
  const values = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1];
  expect(summaryOf(values)).toEqual({ mean: 5.5, median: 5.5, p90: 9 });
  expect(summaryOf([3, 1, 2])).toEqual({ mean: 2, median: 2, p90: 3 });
  expect(values[0]).toBe(10);
  expect(() => summaryOf([])).toThrow('got none');
});

const prefill = graphResult({
  graph: 'prefill',
  tokens: 128,
  warmUp: 1,
  runs: [
    {
      executions: [900000, 40000, 60000],
      accelerator: [800000, 30000, 50000],
      power: { kind: 'known', idle: 1, running: 5, samples: 3 },
    },
  ],
});
const decode = graphResult({
  graph: 'decode',
  tokens: 1,
  warmUp: 0,
  runs: [{ executions: [5000, 5000], power: { kind: 'unknown', reason: 'the battery is not discharging (Full)' } }],
});

test('the first inferences are left out, and power above idle is shared among tokens', () => {
  expect(prefill).toMatchObject({ inferences: 2, latency: { mean: 50, median: 50, p90: 60 }, tokensPerSecond: 2560 });
  expect(prefill.accelerator?.mean).toBe(40);
  expect(prefill.energyPerToken).toBeCloseTo((4 * 0.05) / 128, 12);
  expect(decode.tokensPerSecond).toBe(200);
  expect(decode).not.toHaveProperty('energyPerToken');
});

test('a phone that takes no more than when idle has no energy to share', () => {
  const power = { kind: 'known', idle: 2, running: 2, samples: 1 } as const;
  const measured = { graph: 'g', tokens: 1, warmUp: 0, runs: [{ executions: [1000], power }] };
  expect(graphResult(measured)).not.toHaveProperty('energyPerToken');
});

test('inferences that are all first ones are no measurement', () => {
  const power = { kind: 'unknown', reason: '' } as const;
  const measured = { graph: 'g', tokens: 1, warmUp: 1, runs: [{ executions: [1000], power }] };
  expect(() => graphResult(measured)).toThrow('Run more inferences');
});

test('several runs are taken together, and how far they are apart is told', () => {
  const operators = (cycles: number) => [{ name: 'lm_head', id: 9, cycles, executions: 2 }];
  const run = (time: number, running: number) => ({
    executions: [99000, time, time],
    operators: operators(time),
    power: { kind: 'known', idle: 1, running, samples: 2 } as const,
  });
  const result = graphResult({ graph: 'decode', tokens: 1, warmUp: 1, runs: [run(4000, 3), run(6000, 5)] });
  expect(result).toMatchObject({ inferences: 4, latency: { mean: 5 }, runs: [4, 6], tokensPerSecond: 200 });
  expect(result.power).toEqual({ kind: 'known', idle: 1, running: 4, samples: 4 });
  expect(result.operators).toEqual([{ name: 'lm_head', id: 9, cycles: 10000, executions: 4 }]);
  expect(benchmarkTable({ phone: 'p', soc: 's', graphs: [result] })).toContain('| 5.000 ± 1.414 | 5.000 |');
  const power = { kind: 'unknown', reason: 'no' } as const;
  const half = graphResult({ graph: 'g', tokens: 1, warmUp: 1, runs: [run(4000, 3), { ...run(4000, 3), power }] });
  expect(half.power).toEqual(power);
});

test('models side by side, a row each', () => {
  const results = [
    { name: 'w8a8', result: { phone: 'Test', soc: 'SM8650', graphs: [prefill, decode] } },
    { name: 'w4a8', result: { phone: 'Test', soc: 'SM8650', graphs: [prefill] } },
  ];
  expect(comparisonTable(results, 'text')).toMatchInlineSnapshot(`
    "Test (SM8650)

    model  prefill ms  prefill tokens/s  prefill mJ/token  decode ms  decode tokens/s  decode mJ/token
    -----  ----------  ----------------  ----------------  ---------  ---------------  ---------------
    w8a8        50.00              2560             1.563      5.000            200.0                –
    w4a8        50.00              2560             1.563          –                –                –

    w8a8, decode: no energy, the battery is not discharging (Full)."
  `);
});

test('a table for documents and one for terminals', () => {
  const result = { phone: 'Pixel | test', soc: 'SM8650', graphs: [prefill, decode] };
  expect(benchmarkTable(result)).toMatchInlineSnapshot(`
    "Pixel | test (SM8650)

    | graph | tokens | inferences | mean ms | median ms | p90 ms | tokens/s | mJ/token |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | prefill | 128 | 2 | 50.00 | 50.00 | 60.00 | 2560 | 1.563 |
    | decode | 1 | 2 | 5.000 | 5.000 | 5.000 | 200.0 | – |

    decode: no energy, the battery is not discharging (Full)."
  `);
  expect(benchmarkTable(result, 'text')).toMatchInlineSnapshot(`
    "Pixel | test (SM8650)

    graph    tokens  inferences  mean ms  median ms  p90 ms  tokens/s  mJ/token
    -------  ------  ----------  -------  ---------  ------  --------  --------
    prefill     128           2    50.00      50.00   60.00      2560     1.563
    decode        1           2    5.000      5.000   5.000     200.0         –

    decode: no energy, the battery is not discharging (Full)."
  `);
});
