import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openCheckpoint } from '@mobilequant/checkpoint/node';
import {
  checkpointForm,
  createDecoder,
  type DecoderConfig,
  decoderConfig,
  fromCheckpoint,
  languageModel,
  parseConfig,
} from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { describe, expect, it } from 'vitest';
import { MODEL } from './files.ts';
import { generateText, SPLITS } from './generator.ts';
import { compileLoss, initialParameters, type Parameters, parameterShapes } from './model.ts';
import { createRandom } from './random.ts';

const config: DecoderConfig = decoderConfig({
  layers: 2,
  hidden: 16,
  ffn: 24,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  vocab: 11,
  maxPositions: 32,
  normEpsilon: 1e-5,
  norm: 'epsilon',
  finalNorm: 'epsilon',
  scoreScale: 'explicit',
  activation: 'silu',
  rope: { theta: 10000 },
  tiedEmbeddings: true,
});
const runtime = nodeRuntime();
const window = Int32Array.of(1, 5, 2, 9, 0, 3, 7, 5, 1);

describe('the traced loss', async () => {
  const program = await compileLoss(runtime, config, 8, true);
  const parameters = initialParameters(config, createRandom(4));
  const { loss, gradients } = await program.run(parameters, window);

  it('begins near that of a model that knows nothing', () => {
    expect(Math.abs(loss - Math.log(config.vocab))).toBeLessThan(0.5);
  });

  it.each([...parameterShapes(config).keys()])(
    'falls as fast along the gradient of %s as the gradient says',
    async (name) => {
      const gradient = gradients.get(name) as Float32Array;
      const length = Math.hypot(...gradient);
      const at = async (step: number): Promise<number> => {
        const { shape, data } = parameters.get(name) ?? { shape: [], data: new Float32Array() };
        const moved = data.map((w, i) => w + (step * (gradient[i] as number)) / length);
        return (await program.run(new Map([...parameters, [name, { shape, data: moved }]]) as Parameters, window)).loss;
      };
      const step = 0.01;
      const slope = ((await at(step)) - (await at(-step))) / (2 * step);
      expect(length).toBeGreaterThan(1e-4);
      expect(Math.abs(slope / length - 1)).toBeLessThan(0.02);
    },
  );
});

describe('the model in this folder', async () => {
  const directory = fileURLToPath(MODEL);
  const { config: json, weights, tokenizer } = await openCheckpoint(directory);

  it('is the one that the README describes', () => {
    const sum = createHash('sha256')
      .update(readFileSync(new URL('model.safetensors', MODEL)))
      .digest('hex');
    expect(readFileSync(new URL('README.md', import.meta.url), 'utf8')).toContain(sum);
  });

  it('has learned its language', async () => {
    const model = languageModel(
      createDecoder(runtime, parseConfig(json), fromCheckpoint(checkpointForm(json), weights)),
    );
    const tokens = (await tokenizer()).encode(generateText({ seed: SPLITS.test, characters: 2000 })).subarray(0, 256);
    const losses = (await model.negativeLogLikelihood?.(tokens)) ?? new Float32Array();
    expect(Math.exp(losses.reduce((sum, l) => sum + l, 0) / losses.length)).toBeLessThan(3.2);
  });

  it('has channels whose activations are far larger than the others', async () => {
    const norm = await weights.read('model.layers.1.input_layernorm.weight');
    const sorted = [...norm.map(Math.abs)].sort((a, b) => a - b);
    expect((sorted.at(-1) as number) / (sorted[sorted.length >> 1] as number)).toBeGreaterThan(20);
  });
});
