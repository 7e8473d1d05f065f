/** The folder for GenAI on an NPU: what GenAI does with its graphs, call by call, beside the graph that reads the whole text at once. */
import { quantizedForm } from '@mobilequant/calibration';
import { type QuantizedModel, withPrefix } from '@mobilequant/core';
import { type Graph, verify } from '@mobilequant/graph';
import { recipes } from '@mobilequant/quantizer';
import type { Program, Value, Values } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import { architecture } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { gridOfLogits } from '../src/export-qnn.ts';
import { type ExportFiles, exportQnnPrefill, genaiQnnTarget, type QnnGraphs, qnnModel } from '../src/index.ts';
import { config as llama, quantized, randomTokens, runtime } from './tiny-model.ts';

const AS_WRITTEN = { optimization: 'disabled', integerProducts: false } as const;
const settings = {
  config: { model_type: 'llama', eos_token_id: 2 },
  generation: { temperature: 0.2, do_sample: true },
};
const [tokens, context] = [8, 24];

async function model(name: Parameters<typeof architecture>[0], prefix: readonly number[]): Promise<QuantizedModel> {
  const own = quantizedForm(architecture(name), 'exact');
  const { config, weights } = await withPrefix(runtime, own, tinyWeights(own, 21), prefix);
  return quantized(recipes.w8a8, { config, weights });
}

interface Stage {
  readonly filename: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly run_on_prompt?: boolean;
  readonly run_on_token_gen?: boolean;
  readonly is_lm_head?: boolean;
}

const settingsOf = (files: ExportFiles) => JSON.parse(files.get('genai_config.json') as string);
const stagesOf = (files: ExportFiles): Stage[] => Object.values(settingsOf(files).model.decoder.pipeline[0]);
const levels = (value: Value | undefined): number[] => Array.from(value?.data as Uint8Array | Uint16Array);
const count = (shape: readonly (number | string)[]): number =>
  shape.reduce<number>((n, size) => n * (size as number), 1);

/** GenAI's pipeline with windows aligned on the left, and a cache that is written where it is read. */
class Pipeline {
  readonly cache: Record<string, Value> = {};
  readonly #pad: number;
  readonly #window: number;
  readonly #stages: readonly { readonly stage: Stage; readonly program: Program }[];
  #end = -1; // what it says of the text's length

  constructor(files: ExportFiles, stages: readonly { stage: Stage; program: Program }[]) {
    const { model } = settingsOf(files);
    this.#pad = model.pad_token_id;
    this.#window = model.decoder.sliding_window.window_size;
    this.#stages = stages;
    for (const { name, shape } of (files.get('decode.onnx') as Graph).inputs) {
      // What lies in entries that hold nothing, of the text before or of none, must not matter.
      const data = Uint8Array.from({ length: count(shape) }, (_, i) => (37 * i) % 256);
      if (name.startsWith('past.')) this.cache[name] = { data, shape: shape as number[] };
    }
  }

  static async of(files: ExportFiles): Promise<Pipeline> {
    const compiled = stagesOf(files).map(async (stage) => {
      const graph = verify(files.get(stage.filename) as Graph);
      return { stage, program: await runtime.compile(graph, AS_WRITTEN) };
    });
    return new Pipeline(files, await Promise.all(compiled));
  }

  /** The logits behind a prompt, as integers and as reals. */
  async prompt(text: Int32Array): Promise<{ levels: number[]; reals: number[] }> {
    const padded = new Int32Array(Math.ceil(text.length / this.#window) * this.#window).fill(this.#pad);
    padded.set(text);
    let store: Values = {};
    let part = padded;
    this.#end = -1;
    for (let at = 0; at < padded.length; at += this.#window) {
      part = padded.slice(at, at + this.#window);
      this.#end += this.#window;
      store = await this.#run(part, 'run_on_prompt', at + this.#window === padded.length);
    }
    this.#end = text.length - 1;
    return row(
      store,
      part.findLastIndex((id) => id !== this.#pad),
    );
  }

  async next(token: number): Promise<{ levels: number[]; reals: number[] }> {
    this.#end++;
    return row(await this.#run(Int32Array.of(token), 'run_on_token_gen', true), 0);
  }

  async #run(ids: Int32Array, when: 'run_on_prompt' | 'run_on_token_gen', isLast: boolean): Promise<Values> {
    const store: Record<string, Value> = {
      input_ids: { data: ids, shape: [1, ids.length] },
      past_sequence_length: { data: Int32Array.of(this.#end), shape: [1, 1] },
      total_sequence_length: { data: Int32Array.of(context), shape: [1] },
      ...this.cache,
    };
    for (const { stage, program } of this.#stages) {
      if (stage[when] === false || (stage.is_lm_head && !isLast)) continue;
      const given = stage.inputs.map((name): [string, Value] => {
        const value = store[name];
        if (!value) throw new Error(`${stage.filename}: expected '${name}' from a stage before, got none.`);
        return [name, value];
      });
      Object.assign(store, await program.run(Object.fromEntries(given)));
    }
    for (const name of Object.keys(this.cache)) this.cache[name] = store[name.replace('past', 'written')] as Value;
    return store;
  }

  async release(): Promise<void> {
    await Promise.all(this.#stages.map(({ program }) => program.release()));
  }
}

function row(store: Values, at: number): { levels: number[]; reals: number[] } {
  const [whole, real] = [store['logits'], store['logits.real']] as [Value, Value];
  const vocab = whole.shape[1] as number;
  expect(real.shape).toEqual([1, ...whole.shape]);
  const [from, to] = [at * vocab, (at + 1) * vocab];
  return { levels: levels(whole).slice(from, to), reals: Array.from((real.data as Float32Array).slice(from, to)) };
}

/** Logits and caches of the whole text, read at once by the graph of `qnn-qdq`. */
async function wholeText(own: QuantizedModel, text: Int32Array): Promise<Values> {
  const { graph, inputs } = await exportQnnPrefill(own, { tokens: text.length });
  const [prepare, program] = [await runtime.compile(inputs), await runtime.compile(graph, AS_WRITTEN)];
  const outputs = await program.run(await prepare.run({ input_ids: { data: text, shape: [text.length] } }));
  await Promise.all([prepare.release(), program.release()]);
  return outputs;
}

/** Entries `from …` of a cache `[…, kvHeads, entries, headDim]`, head by head. */
function entries(value: Value | undefined, from: number, wanted: number): number[][] {
  const [heads, length, size] = (value?.shape ?? []).slice(-3) as [number, number, number];
  return Array.from({ length: heads }, (_, head) =>
    levels(value).slice((head * length + from) * size, (head * length + from + wanted) * size),
  );
}

describe.each([
  ['llama', []],
  ['llama', [5, 9]],
  ['gemma3', []], // layers of two kinds
  ['gemma3', [5]],
  ['qwen2', [3]],
] as const)('%s behind the prefix %o', (name, prefix) => {
  test('a prompt shorter, as long, and longer than the window, and token by token behind it', async () => {
    const own = await model(name, prefix);
    const files = await genaiQnnTarget.export(own, { settings, tokens, context });
    const text = randomTokens(context, own.config.vocab, 2);
    const whole = await wholeText(own, text);
    const { vocab } = own.config;
    const wantedRow = (at: number) => levels(whole['logits']).slice(at * vocab, (at + 1) * vocab);
    /** Masked scores keep a share of e^-12, and there are more of them here. */
    const apart = (at: number, got: readonly number[]) =>
      Math.max(...wantedRow(at).map((level, i) => Math.abs(level - (got[i] as number))));
    const pipeline = await Pipeline.of(files);
    for (const length of [3, tokens, 2 * tokens + 3]) {
      let got = await pipeline.prompt(text.slice(0, length));
      for (let at = length - 1; ; at++) {
        if (name === 'llama') expect(got.levels).toEqual(wantedRow(at));
        expect(apart(at, got.levels)).toBeLessThan(14);
        if (at === context - 1) break;
        got = await pipeline.next(text[at + 1] as number);
      }
      for (let layer = 0; layer < own.config.layers; layer++)
        for (const part of ['keys', 'values'])
          expect(entries(pipeline.cache[`past.${layer}.${part}`], 0, context)).toEqual(
            entries(whole[`present.${layer}.${part}`], prefix.length, context),
          );
    }
    await pipeline.release();
  });
});

test('reals are what the integers of the logits are worth', async () => {
  const own = await model('llama', []);
  const files = await genaiQnnTarget.export(own, { settings, tokens, context });
  const pipeline = await Pipeline.of(files);
  const { levels, reals } = await pipeline.prompt(randomTokens(4, own.config.vocab, 2));
  const { scale, zeroPoint } = gridOfLogits(files.get('decode.onnx') as Graph);
  expect(reals).toEqual(levels.map((level) => Math.fround((level - zeroPoint) * scale)));
  await pipeline.release();
});

test('the settings name what the graphs have, in an order in which each stage has its inputs', async () => {
  const files = await genaiQnnTarget.export(await quantized('w8a8'), { settings, tokens, context });
  const { model, search } = settingsOf(files);
  for (const { filename, inputs, outputs } of stagesOf(files)) {
    const graph = files.get(filename) as Graph;
    expect(inputs).toEqual(graph.inputs.map(({ name }) => name));
    expect(outputs).toEqual(graph.outputs.map(({ name }) => name));
  }
  const each = (pattern: string) =>
    Array.from({ length: llama.layers }, (_, layer) => pattern.replace('%d', `${layer}`));
  const { past_key_names, past_value_names } = model.decoder.inputs;
  const { present_key_names, present_value_names, logits } = model.decoder.outputs;
  const cache = files.get('cache.onnx') as Graph;
  expect(cache.inputs.map(({ name }) => name)).toEqual(
    expect.arrayContaining([...each(past_key_names), ...each(past_value_names)]),
  );
  expect(cache.outputs.map(({ name }) => name).sort()).toEqual(
    [...each(present_key_names), ...each(present_value_names)].sort(),
  );
  expect((files.get('logits.onnx') as Graph).outputs.map(({ name }) => name)).toEqual([logits]);
  expect(model).toMatchObject({ type: 'decoder-pipeline', context_length: context, pad_token_id: llama.vocab });
  expect(model.decoder.sliding_window).toEqual({
    window_size: tokens,
    alignment: 'left',
    slide_inputs: true,
    slide_key_value_cache: false,
  });
  expect(Object.keys(model.decoder.pipeline[0])).toEqual([
    'prefill-inputs',
    'decode-inputs',
    'prefill',
    'decode',
    'cache',
    'logits',
  ]);
  expect(model.decoder.pipeline[0].decode.session_options.provider_options[0].qnn.backend_type).toBe('htp');
  expect(search).toMatchObject({ max_length: context, past_present_share_buffer: true, temperature: 0.2 });
});

test.each([
  [{ tokens: 1 }, 'tokens: expected a length from 2 to 64, got 1'],
  [{ tokens: 8, context: 20 }, 'context: expected a multiple of 8 (`tokens`), at most 64, got 20'],
  [{ tokens: 8, context: 72 }, 'at most 64, got 72'],
  [{ tokens: 65 }, 'tokens: expected a length from 2 to 64, got 65'],
])('%o is refused', async (sizes, message) => {
  await expect(genaiQnnTarget.export(await quantized('w8a8'), { settings, ...sizes })).rejects.toThrow(message);
});

test('so is a model that the NPU does not take, by the name of its site', async () => {
  const own = quantizedForm(architecture('stablelm'), 'exact');
  const layerNorms = await quantized(recipes.w8a8, { config: own, weights: tinyWeights(own, 21) });
  await expect(genaiQnnTarget.export(layerNorms, { settings })).rejects.toThrow('norms without mean and bias');
  await expect(genaiQnnTarget.export(await quantized('w8a8'))).rejects.toThrow('settings');
});

test('these graphs are GenAI’s: what runs those of qnn-qdq says so', async () => {
  const files = await genaiQnnTarget.export(await quantized('w8a8'), { settings, tokens, context });
  const graphs = (name: string): QnnGraphs => ({
    graph: files.get(`${name}.onnx`) as Graph,
    inputs: files.get(`${name}-inputs.onnx`) as Graph,
  });
  await expect(qnnModel(runtime, { prefill: graphs('prefill'), decode: graphs('decode') })).rejects.toThrow(
    'input_ids: expected ids of the shape [tokens], got [1, 8]',
  );
});
