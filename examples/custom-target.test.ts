/**
 * The C of `custom-target.ts`, compiled and run on what enters linears of the first layer. Wants a C compiler in the PATH.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  block,
  contextValues,
  embed,
  type QuantizedModel,
  readLayer,
  simulatedReading,
  siteName,
  specsOf,
  type Tap,
} from '@mobilequant/core';
import { ExportError } from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { type Encoding, quantize, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import type * as tf from '@tensorflow/tfjs';
import { readModel } from 'mobilequant';
import { expect, test } from 'vitest';
import { cHeaderTarget, identifier, run } from './custom-target.ts';
import { MODEL } from './tiny-llama/files.ts';
import { generateText, SPLITS } from './tiny-llama/generator.ts';

const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);
const TOKENS = 32;

/** Linears of the first layer, and the sites whose grid their inputs are on: one of 8 bits, two of 16. */
const LINEARS = [
  ['self_attn.q_proj.weight', 'input_layernorm.output'],
  ['self_attn.o_proj.weight', 'self_attn.pv_bmm.output'],
  ['mlp.w2.weight', 'mlp.w2.input'],
].map((pair) => pair.map((site) => siteName(0, site)) as [weight: string, input: string]);

/** What enters and leaves the linears of the simulated first layer on a short text; what leaves is not rounded yet. */
async function simulateLinears({ config, weights, encodings }: QuantizedModel): Promise<Record<string, Float32Array>> {
  const { checkpoint } = await readModel(fileURLToPath(MODEL));
  const text = generateText({ seed: SPLITS.test, characters: 1000 });
  const tokens = (await checkpoint.tokenizer()).encode(text).slice(0, TOKENS);
  const reading = simulatedReading(encodings);
  const context = contextValues(config, TOKENS);
  const layer = await readLayer(weights, 0);
  const program = await nodeRuntime().program(
    (inputs) => {
      const seen: Record<string, tf.Tensor> = {};
      const simulated = reading.tap(0, inputs);
      const activation: Tap['activation'] = (site, x, hint) => {
        const y = simulated.activation(site, x, hint);
        if (/(_proj|w\d)\.(input|output)$/.test(site))
          seen[`seen ${siteName(0, site)}`] = site.endsWith('input') ? y : x;
        return y;
      };
      return { y: block(inputs.x, inputs, inputs, config, { tap: { ...simulated, activation } }).x, ...seen };
    },
    { x: [TOKENS, config.hidden], ...specsOf(context), ...specsOf(layer), ...reading.inputs(0) },
  );
  const x = await embed(config, weights, tokens);
  const results = await program.run({ ...context, ...layer, ...reading.values(0), x });
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]));
}

/** Reads rows of levels for one of the linears, and writes what both functions of the header make of each. */
const PROGRAM = `#include <stdio.h>
#include <stdlib.h>
#include "linears.h"

static const struct { const mq_linear *linear; const mq_grid *grid; } linears[] = {
${LINEARS.map((pair) => `  { ${pair.map((site) => `&${identifier(site)}`).join(', ')} },`).join('\n')}
};

int main(int count, char **arguments) {
  const int which = count > 1 ? atoi(arguments[1]) : 0;
  const mq_linear *linear = linears[which].linear;
  const mq_grid grid = *linears[which].grid;
  uint16_t *x = calloc(linear->columns, sizeof *x);
  float *y = calloc(linear->rows, sizeof *y);
  while (fread(x, sizeof *x, linear->columns, stdin) == (size_t)linear->columns) {
    for (int64_t row = 0; row < linear->rows; row++) {
      const int64_t sum = mq_sum(linear, row, grid, x);
      fwrite(&sum, sizeof sum, 1, stdout);
    }
    mq_multiply(linear, grid, x, y);
    fwrite(y, sizeof *y, linear->rows, stdout);
  }
  return 0;
}
`;

/** Compiles the program in a header's folder. */
async function compile(folder: string): Promise<string> {
  const [source, binary] = [join(folder, 'main.c'), join(folder, 'main')];
  await writeFile(source, PROGRAM);
  execFileSync(compiler as string, ['-std=c99', '-Wall', '-Wextra', '-Werror', '-o', binary, source]);
  return binary;
}

/** Products that it makes of levels `[tokens, columns]`: `[tokens, rows]`, as sums and as reals. */
function runC(binary: string, which: number, levels: Uint16Array, rows: number): { sums: number[]; reals: number[] } {
  const input = new Uint8Array(levels.buffer, levels.byteOffset, levels.byteLength);
  const out = execFileSync(binary, [`${which}`], { input, maxBuffer: 2 ** 26 });
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  const size = 12 * rows; // of a token: its sums, then its reals
  const each = Array.from({ length: TOKENS * rows }, (_, i) => [Math.floor(i / rows) * size, i % rows] as const);
  return {
    sums: each.map(([start, row]) => Number(view.getBigInt64(start + 8 * row, true))),
    reals: each.map(([start, row]) => view.getFloat32(start + 8 * rows + 4 * row, true)),
  };
}

/** Products of levels `[tokens, columns]` and weights `[rows, columns]`, zero point taken off: `[tokens, rows]`. */
function plainSums(levels: Uint16Array, zero: number, weights: ArrayLike<number>, rows: number): number[] {
  const columns = weights.length / rows;
  return Array.from({ length: TOKENS * rows }, (_, i) => {
    const [token, row] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let column = 0; column < columns; column++)
      sum += ((levels[token * columns + column] as number) - zero) * (weights[row * columns + column] as number);
    return sum;
  });
}

test.for([
  ['w8a8', 8],
  ['w4a8', 4],
] as const)(
  'the header of %s compiles, and its linears are those of the simulated layer',
  async ([name, bits], context) => {
    if (!compiler) return context.skip('no C compiler (cc, gcc, clang) in the PATH');
    const model = await run(recipes[name]);
    const simulated = await simulateLinears(model);
    const folder = await mkdtemp(join(tmpdir(), 'custom-target-'));
    try {
      await writeExport(folder, await cHeaderTarget.export(model));
      const binary = await compile(folder);
      for (const [which, [site, feed]] of LINEARS.entries()) {
        const [weight, grid] = [model.encodings.get(site), model.encodings.get(feed)] as [Encoding, Encoding];
        expect(weight.spec.bits).toBe(bits);
        const rows = model.weights.shape(site)[0] as number;
        const linear = site.replace(/\.weight$/, '');
        const levels = Uint16Array.from(quantize(simulated[`seen ${linear}.input`] as Float32Array, grid));
        const weights = quantize(await model.weights.read(site), weight, { signed: true });

        const { sums, reals } = runC(binary, which, levels, rows);
        expect(sums, site).toEqual(plainSums(levels, grid.zeroPoint[0] as number, weights, rows));
        const wanted = simulated[`seen ${linear}.output`] as Float32Array;
        const largest = Math.max(...wanted.map(Math.abs));
        const error = Math.max(...wanted.map((y, i) => Math.abs(y - (reals[i] as number))));
        expect(error / largest, site).toBeLessThan(2e-6);
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

test('an asymmetric weight is refused by its name', async () => {
  const model = await run(recipes['paper-w8a8']);
  const exported = cHeaderTarget.export(model);
  await expect(exported).rejects.toThrow(ExportError);
  await expect(exported).rejects.toThrowErrorMatchingInlineSnapshot(
    `[ExportError: export: model.layers.0.self_attn.q_proj.weight: expected at most 8 bits, symmetric, per channel, got 8 bits, asymmetric, per tensor. Use the recipe w8a8 or w4a8.]`,
  );
});
