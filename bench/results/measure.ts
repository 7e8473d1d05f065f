/**
 * One measurement, in a process of its own: a form of a quantized model against the float model behind the same prefix, or the float
 * model alone. What the float model's last block gives out is kept, a file a window, so for each prefix it runs once; only its head, which
 * turns that into logits, runs again.
 *
 *     node measure.ts JSON        prints a MeasurementResult without its peak
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readTokenizer } from '@mobilequant/checkpoint/node';
import { cachedWeights, createDecoder, type LanguageModel, withPrefix } from '@mobilequant/core';
import { compareModels, type Perplexity, perplexity } from '@mobilequant/evaluator';
import type { Runtime } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { allTokens, openForm, readModel, readQuantized, readTokens } from 'mobilequant';
import type { MeasurementResult } from './record.ts';

export interface MeasureInput {
  /** The float model's directory, and a name for what is kept of it. */
  readonly model: string;
  readonly id: string;
  /** What quantize wrote; none for the float model alone. */
  readonly quantized?: string;
  readonly form: 'float' | 'simulated' | 'integer';
  readonly data: string;
  readonly tokens: number;
  readonly windows?: number;
  readonly threads: number;
  /** Where the float model's last hidden states are kept. */
  readonly kept: string;
}

/** The float model behind a prefix, whose hidden states are read from files where they are known. */
async function keptFloatModel(
  runtime: Runtime,
  { model, id, kept }: Pick<MeasureInput, 'model' | 'id' | 'kept'>,
  prefix: readonly number[],
): Promise<LanguageModel> {
  const { config: given, weights: stored } = await readModel(model);
  const { config, weights } = await withPrefix(runtime, given, stored, prefix);
  const decoder = createDecoder(runtime, config, cachedWeights(weights));
  const folder = join(kept, [id, ...prefix].join('-'));
  await mkdir(folder, { recursive: true });
  return {
    vocab: config.vocab,
    async logits(tokens) {
      const path = join(folder, `${createHash('sha256').update(tokens).digest('hex').slice(0, 16)}.f32`);
      const bytes = existsSync(path) ? await readFile(path) : undefined;
      if (bytes?.byteLength === 4 * tokens.length * config.hidden)
        return decoder.logits(new Float32Array(new Uint8Array(bytes).buffer));
      const hidden = await decoder.hidden(tokens);
      await writeFile(path, hidden);
      return decoder.logits(hidden);
    },
    release: () => decoder.release(),
  };
}

async function measure({
  quantized,
  form,
  data,
  tokens,
  windows,
  threads,
  ...float
}: MeasureInput): Promise<Omit<MeasurementResult, 'peak'>> {
  const runtime = nodeRuntime({ threads });
  const text = allTokens(await readTokens([data], () => readTokenizer(float.model)));
  const range = { tokens, ...(windows !== undefined && { windows }) };
  const status = (done: number, total: number): void => console.error(`${done} of ${total} windows`);
  if (quantized === undefined) {
    const found = await perplexity(await keptFloatModel(runtime, float, []), text, {
      ...range,
      onWindow: (_, done, total) => status(done, total),
    });
    return { ...resultOf(found), prefix: [] };
  }
  const { prefix } = (await readQuantized(quantized)).config;
  const a = await keptFloatModel(runtime, float, prefix);
  const b = await openForm(runtime, quantized, form, { tokens });
  const found = await compareModels(a, b, text, { ...range, onWindow: status });
  const { mean, standardError } = found.logRatio;
  return {
    ...resultOf(found.b),
    float: found.a.tokenPerplexity,
    logRatio: mean,
    ...(standardError !== undefined && { standardError }),
    divergence: found.distance.divergence,
    agreement: found.distance.agreement,
    prefix,
  };
}

const resultOf = ({ windows, tokens, tokenPerplexity, seconds }: Perplexity) => ({
  windows: windows.length,
  tokens,
  perplexity: tokenPerplexity,
  losses: windows.map(({ negativeLogLikelihood }) => negativeLogLikelihood),
  seconds,
});

console.log(JSON.stringify(await measure(JSON.parse(process.argv[2] ?? '') as MeasureInput)));
