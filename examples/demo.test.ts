import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from './demo.ts';

let out = '';

beforeAll(async () => {
  out = await mkdtemp(join(tmpdir(), 'mobilequant-demo-'));
});

afterAll(() => rm(out, { recursive: true, force: true }));

test('min-max fails, the methods help, integers are what was simulated, and everything lies where it is said to', async () => {
  const { float, results } = await run({ out, samples: 4, epochs: 1, windows: 2 });
  expect(results.map(({ recipe, method }) => `${recipe} ${method}`)).toEqual(
    ['w8a8', 'w4a8'].flatMap((recipe) =>
      ['minmax', 'smoothquant', 'omniquant', 'mobilequant'].map((method) => `${recipe} ${method}`),
    ),
  );
  for (const { method, simulated, integer, directory, recipe } of results) {
    expect(Math.abs(integer / simulated - 1)).toBeLessThan(0.005);
    const loss = simulated / float.perplexity;
    if (method === 'minmax') expect(loss).toBeGreaterThan(1.5);
    else expect(loss).toBeLessThan(recipe === 'w8a8' ? 1.03 : 1.06);
    expect(await readdir(join(directory, 'onnx'))).toContain('model.onnx');
  }
}, 60_000);
