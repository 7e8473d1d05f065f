/**
 * A target of one's own: the linears of a quantized model as a C header. Weights are integers, bytes or two of 4 bits in a byte, and the
 * function that multiplies by them stays in integers until its sums are done.
 *
 *     pnpm exec node examples/custom-target.ts FOLDER
 */
import { fileURLToPath } from 'node:url';
import { quantizeBy } from '@mobilequant/calibration';
import { headName, type QuantizedModel } from '@mobilequant/core';
import { ExportError, type ExportTarget } from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { type Encoding, packInt4, quantize, type Recipe, recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { randomSamples, readModel } from 'mobilequant';
import { MODEL } from './tiny-llama/files.ts';
import { generateText, SPLITS } from './tiny-llama/generator.ts';

/** What every header starts with. */
const PROLOGUE = `#pragma once
#include <stdint.h>

/* How the levels of an activation stand for reals: (level - zero_point) * scale. */
typedef struct { float scale; int32_t zero_point; } mq_grid;

/* Weights [rows, columns], row by row: bytes, or of 4 bits two in a byte, the first in the low half. */
typedef struct { int64_t rows, columns; int32_t bits; const float *scales; const int8_t *weights; } mq_linear;

/* The product of a row with the levels x, before any scale. */
static inline int64_t mq_sum(const mq_linear *linear, int64_t row, mq_grid grid, const uint16_t *x) {
  int64_t sum = 0;
  for (int64_t i = 0; i < linear->columns; i++) {
    const int64_t at = row * linear->columns + i;
    const int32_t low = linear->weights[linear->bits == 4 ? at / 2 : at] >> (linear->bits == 4 ? at % 2 * 4 : 0);
    sum += (int64_t)(x[i] - grid.zero_point) * (linear->bits == 4 ? ((low & 15) ^ 8) - 8 : low);
  }
  return sum;
}

/* Levels x [columns] to reals y [rows]. */
static inline void mq_multiply(const mq_linear *linear, mq_grid grid, const uint16_t *x, float *y) {
  for (int64_t row = 0; row < linear->rows; row++)
    y[row] = (float)mq_sum(linear, row, grid, x) * (grid.scale * linear->scales[row]);
}
`;

/** `linears.h`: an `mq_linear` for each linear, an `mq_grid` for each activation, named as the sites with _ for dots. */
export const cHeaderTarget: ExportTarget = {
  name: 'c-header',
  description: 'A C header: the linears as integers, and the function that multiplies by them',
  async export(model) {
    const parts = [PROLOGUE];
    for (const [site, encoding] of model.encodings) {
      if (!site.endsWith('.weight')) parts.push(gridOf(site, encoding));
      else if (!site.endsWith('norm.weight')) parts.push(await linearOf(model, site, encoding));
    }
    return new Map([['linears.h', parts.join('\n')]]);
  },
};

/** A site's name in C. */
export const identifier = (site: string): string => site.replaceAll('.', '_');

/** A float32 as C reads it back to the last bit. */
const real = (value: number): string => `${value.toExponential(9)}f`;

function gridOf(site: string, { spec, scale, zeroPoint }: Encoding): string {
  if (spec.granularity.kind !== 'tensor') {
    throw new ExportError(site, 'one scale', `one for each ${spec.granularity.kind}`, 'Quantize it per tensor.');
  }
  return `static const mq_grid ${identifier(site)} = { ${real(scale[0] as number)}, ${zeroPoint[0]} };`;
}

async function linearOf({ weights }: QuantizedModel, site: string, encoding: Encoding): Promise<string> {
  const { bits, symmetric, granularity } = encoding.spec;
  if (!symmetric || granularity.kind !== 'channel' || bits > 8) {
    const received = `${bits} bits, ${symmetric ? 'symmetric' : 'asymmetric'}, per ${granularity.kind}`;
    throw new ExportError(site, 'at most 8 bits, symmetric, per channel', received, 'Use the recipe w8a8 or w4a8.');
  }
  const bias = site.replace(/weight$/, 'bias');
  if (weights.has(bias)) throw new ExportError(bias, 'a linear without bias', 'one', 'Export another model.');
  const name = site === 'lm_head.weight' ? headName(weights) : site;
  const [rows, columns] = weights.shape(name);
  const levels = Int8Array.from(quantize(await weights.read(name), encoding, { signed: true, site }));
  const stored = bits > 4 ? levels : new Int8Array(packInt4(levels).buffer);
  const own = identifier(site);
  return `
static const float ${own}_scales[] = { ${Array.from(encoding.scale, real)} };
static const int8_t ${own}_weights[] = { ${stored} };
static const mq_linear ${own} = { ${rows}, ${columns}, ${bits > 4 ? 8 : 4}, ${own}_scales, ${own}_weights };`;
}

/** The small llama, quantized. */
export async function run(recipe: Recipe = recipes.w4a8): Promise<QuantizedModel> {
  const { checkpoint, config, weights } = await readModel(fileURLToPath(MODEL));
  const tokens = (await checkpoint.tokenizer()).encode(generateText({ seed: SPLITS.calibration, characters: 10_000 }));
  const calibration = randomSamples({ kind: 'text', tokens }, { samples: 4, tokens: 128, seed: 1 });
  const { model } = await quantizeBy(nodeRuntime(), { config, weights, recipe, method: 'smoothquant', calibration });
  return model;
}

if (import.meta.main) {
  const written = await writeExport(process.argv[2] ?? 'out/c', await cHeaderTarget.export(await run()));
  for (const [path, bytes] of written) console.log(`${path}: ${bytes} bytes`);
}
