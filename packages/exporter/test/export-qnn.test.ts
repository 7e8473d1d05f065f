/** What is exported for an NPU: the rules of its compiler, and the numbers of the simulated model. */
import { quantizedForm } from '@mobilequant/calibration';
import {
  createDecoder,
  type DecoderConfig,
  deriveWeights,
  generate,
  type LanguageModel,
  languageModel,
  type QuantizedModel,
  quantizedDeviceForm,
  simulatedReading,
  withPrefix,
} from '@mobilequant/core';
import { dataOf, type Graph, type Initializer, type Node, valuesOf, verify } from '@mobilequant/graph';
import { type QuantizerSpec, quantize, type Recipe, recipes, withRules } from '@mobilequant/quantizer';
import type { Values } from '@mobilequant/tracer';
import { describe, expect, test } from 'vitest';
import { architecture, architectures } from '../../calibration/test/architectures.ts';
import { tinyWeights } from '../../calibration/test/tiny-layer.ts';
import { exportQnnDecode, exportQnnPrefill, type QnnGraphs, qnnModel, qnnQdqTarget } from '../src/index.ts';
import { config as llama, quantized, randomTokens, randomWeights, runtime } from './tiny-model.ts';

const tokens = 12;
/** The start of a text that ranges were taken from: nothing is clipped. (What is, the device clips in the residual stream too.) */
const textOf = (vocab: number): Int32Array => randomTokens(24, vocab, 2).subarray(0, tokens);

const device = ['w8a8', 'w4a8', 'w8a8-strict', 'w4a8-strict'] as const;
const a16: QuantizerSpec = { bits: 16, symmetric: false, granularity: { kind: 'tensor' } };
const a8: QuantizerSpec = { ...a16, bits: 8 };
const eightBitSites = [
  '*_layernorm.output',
  '*.q_proj.output',
  '*.k_proj.output',
  '*.v_proj.output',
  '*.w1.output',
  '*.w3.output',
];

/** The recipe with 16 bits at every activation but keys and values. */
const sixteen: Recipe = withRules(
  recipes.w8a8,
  'sixteen',
  eightBitSites.map((site) => ({ site: `model.layers.*.${site}`, spec: a16 })),
);

async function simulated({ config, weights, encodings }: QuantizedModel): Promise<Float32Array> {
  const model = languageModel(createDecoder(runtime, config, weights, { reading: simulatedReading(encodings) }));
  const logits = await model.logits(textOf(config.vocab));
  await model.release?.();
  return logits;
}

/** The graph's outputs for a text, as integers. */
async function outputsOf({ graph, inputs }: QnnGraphs, text: Int32Array): Promise<Values> {
  const prepare = await runtime.compile(inputs);
  const program = await runtime.compile(graph, { optimization: 'disabled', integerProducts: false });
  const outputs = await program.run(await prepare.run({ input_ids: { data: text, shape: [text.length] } }));
  await Promise.all([prepare.release(), program.release()]);
  return outputs;
}

async function logitsOf(model: QuantizedModel): Promise<Float32Array> {
  const prefill = await exportQnnPrefill(model, { tokens });
  const { logits } = await outputsOf(prefill, textOf(model.config.vocab));
  const { scale, zeroPoint } = gridOf(prefill.graph, 'logits');
  return Float32Array.from(logits?.data as Uint16Array, (q) => (q - zeroPoint) * scale);
}

const constant = (graph: Graph, name: string | undefined): Initializer => {
  const found = graph.initializers.get(name as string);
  if (!found) throw new Error(`expected an initializer '${name}', got none.`);
  return found;
};
const numbers = (graph: Graph, name: string | undefined): number[] =>
  valuesOf(constant(graph, name), constant(graph, name).data as Uint8Array);

/** Scale and zero point of the QuantizeLinear that makes a value. */
function gridOf(graph: Graph, name: string): { scale: number; zeroPoint: number } {
  const node = graph.nodes.find(({ outputs }) => outputs[0] === name) as Node;
  const [scale, zeroPoint] = node.inputs.slice(1).map((input) => numbers(graph, input)[0]) as [number, number];
  return { scale, zeroPoint };
}

const rms = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);
const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((v, i) => v - (b[i] as number));
const relative = (got: Float32Array, wanted: Float32Array): number => rms(difference(got, wanted)) / rms(wanted);

const MOVES = ['Reshape', 'Transpose', 'Slice', 'Concat'];

/** What in a graph is against the rules of the compiler, in words; a slow second opinion on `quantizeOperators`. */
function breaches(graph: Graph): string[] {
  const found: string[] = [];
  const producers = new Map(graph.nodes.map((node) => [node.outputs[0] as string, node]));
  const readers = (name: string) => graph.nodes.filter(({ inputs }) => inputs.includes(name));
  const zeroType = (node: Node) => constant(graph, node.inputs[2]).type;
  const width = (type: string) => Number(type.replace(/\D+/, ''));
  for (const value of [...graph.inputs, ...graph.outputs]) {
    if (!/^uint(8|16)$/.test(value.type)) found.push(`${value.name} is ${value.type}`);
    if (value.shape.some((size) => typeof size !== 'number')) found.push(`${value.name} has no static shape`);
  }
  for (const node of graph.nodes) {
    const [y] = node.outputs as [string];
    const where = `${node.op} ${y}`;
    if (node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear') {
      const scale = constant(graph, node.inputs[1]);
      if (zeroType(node).startsWith('uint') && scale.shape.length !== 0) found.push(`${where} has several scales`);
      if (node.op === 'QuantizeLinear' && producers.get(node.inputs[0] as string)?.op === 'DequantizeLinear') {
        const from = producers.get(node.inputs[0] as string) as Node;
        const behind = producers.get(producers.get(from.inputs[0] as string)?.inputs[0] as string);
        if (behind && MOVES.includes(behind.op)) found.push(`${where} converts behind a ${behind.op}`);
        const before = producers.get(from.inputs[0] as string);
        if (before && zeroType(before) !== zeroType(from)) found.push(`${where} reads another type than was written`);
      }
      continue;
    }
    const moves = MOVES.includes(node.op);
    const lists = node.op === 'Reshape' || node.op === 'Slice' ? node.inputs.slice(1) : [];
    const next = readers(y);
    if (next.length !== 1 || next[0]?.op !== 'QuantizeLinear') {
      found.push(`${where} does not end in one QuantizeLinear`);
      continue;
    }
    const out = next[0];
    for (const [i, input] of node.inputs.entries()) {
      if (lists.includes(input)) continue;
      const from = producers.get(input);
      if (from?.op !== 'DequantizeLinear') {
        found.push(`${where} reads ${input} in float`);
        continue;
      }
      const type = zeroType(from);
      const isWeight = node.op === 'Gemm' && i === 1;
      if (isWeight) {
        if (!/^int[48]$/.test(type) || from.attributes.axis !== 0) found.push(`${where} has a weight of ${type}`);
        if (constant(graph, from.inputs[1]).shape[0] !== constant(graph, from.inputs[0]).shape[0])
          found.push(`${where} has scales of another axis`);
      } else if (node.op === 'Gemm' && i === 2) {
        if (type !== 'int32') found.push(`${where} has a bias of ${type}`);
      } else if (node.op === 'MatMul' && i === 1) {
        if (type !== 'uint8' || numbers(graph, from.inputs[2])[0] !== 128) found.push(`${where}: second is ${type}`);
      } else if (width(type) !== width(zeroType(out))) found.push(`${where} has ${type} → ${zeroType(out)}`);
      if (moves) {
        const same = [1, 2].every(
          (at) => String(numbers(graph, from.inputs[at])) === String(numbers(graph, out.inputs[at])),
        );
        if (!same) found.push(`${where} moves from grid to grid`);
      }
    }
    if (node.op === 'Sigmoid' && numbers(graph, out.inputs[1])[0] !== 2 ** -width(zeroType(out)))
      found.push(`${where} is not on the grid of a device's sigmoid`);
  }
  return found;
}

const count = ({ nodes }: Graph, op: string): number => nodes.filter((node) => node.op === op).length;
const modelOf = (config: DecoderConfig, recipe: Recipe): Promise<QuantizedModel> =>
  quantized(recipe, { config, weights: tinyWeights(config, 21) });

describe.each(device)('a %s export', (name) => {
  test('has one width around every operator, integers at both ends, and no float between', async () => {
    const { graph, inputs } = await exportQnnPrefill(await quantized(name), { tokens });
    expect(breaches(verify(graph))).toEqual([]);
    verify(inputs);
    expect(inputs.outputs).toEqual(graph.inputs);
    expect(graph.nodes.filter(({ domain }) => domain !== '')).toEqual([]);
    expect(['Gemm', 'LpNormalization', 'Softmax', 'Sigmoid', 'Div', 'Sqrt'].map((op) => count(graph, op))).toEqual([
      7 * 2 + 1,
      2 * 2 + 1,
      2,
      2,
      0,
      0,
    ]);
    const weight = constant(graph, 'model.layers.0.mlp.w1.weight_quantized').type;
    expect(weight).toBe(name.startsWith('w4') ? 'int4' : 'int8');
    expect(numbers(graph, 'model.layers.0.mlp.w1.weight_zero_point').every((zero) => zero === 0)).toBe(true);
  });

  // Some values fall on the other side of a boundary of 8 bits, since they are rounded to 16 bits before.
  test('gives the logits of the simulated model, but for steps of 8 bits here and there', async () => {
    const model = await quantized(name);
    expect(relative(await logitsOf(model), await simulated(model))).toBeLessThan(name.endsWith('strict') ? 0.1 : 0.03);
  });
});

test('with 8 bits at keys and values alone, the logits are those of the simulated model to a step of these', async () => {
  const rules = ['self_attn.qk_bmm.input2', 'self_attn.pv_bmm.input2'];
  const model = await quantized(sixteen);
  expect([...model.encodings].filter(([, { spec }]) => spec.bits === 8).map(([site]) => site)).toEqual(
    expect.arrayContaining(rules.map((site) => `model.layers.0.${site}`)),
  );
  expect(relative(await logitsOf(model), await simulated(model))).toBeLessThan(0.01);
});

describe.each(architectures)('$name', ({ config: checkpoint }) => {
  const config = quantizedForm(checkpoint, 'exact');
  if (checkpoint.norm === 'layer') {
    test('is refused until its LayerNorms are folded', async () => {
      const model = await modelOf(config, recipes.w8a8);
      await expect(exportQnnPrefill(model)).rejects.toThrow('expected norms without mean and bias');
    });
    return;
  }
  test.each([recipes.w8a8, recipes['w4a8-strict']])('keeps the rules under $name', async (recipe) => {
    const { graph } = await exportQnnPrefill(await modelOf(config, recipe), { tokens });
    expect(breaches(verify(graph))).toEqual([]);
  });

  test.each([recipes.w8a8, recipes['w4a8-strict']])('decodes by the same rules under $name', async (recipe) => {
    const { graph, inputs } = await exportQnnDecode(await modelOf(config, recipe), { context: tokens });
    expect(breaches(verify(graph))).toEqual([]);
    verify(inputs);
    const given = graph.inputs.filter(({ name }) => !name.startsWith('past.'));
    expect(inputs.outputs).toEqual(given);
  });

  test('gives about the logits of its simulated model', async () => {
    const model = await modelOf(config, sixteen);
    expect(relative(await logitsOf(model), await simulated(model))).toBeLessThan(3e-3);
  });
});

test('a bias that 32 bits do not hold in units of its sums is refused, and does not wrap around', async () => {
  const config = quantizedForm(architecture('qwen2'), 'exact');
  const weights = randomWeights(config);
  const [name, columns] = ['model.layers.0.self_attn.q_proj', config.hidden];
  const matrix = (await weights.read(`${name}.weight`)).slice().fill(0, 0, columns); // the scale of row 0 is the smallest
  const bias = (await weights.read(`${name}.bias`)).with(0, 5000);
  const own = (data: Float32Array, shape: readonly number[]) => ({ shape, read: async () => data });
  const changed = deriveWeights(
    weights,
    new Map([
      [`${name}.weight`, own(matrix, weights.shape(`${name}.weight`))],
      [`${name}.bias`, own(bias, weights.shape(`${name}.bias`))],
    ]),
  );
  const { graph } = await exportQnnPrefill(await quantized('w8a8', { config, weights: changed }), { tokens });
  const biases = [...graph.initializers.values()].filter(
    ({ type, name }) => type === 'int32' && name.endsWith('_quantized'),
  );
  await expect(Promise.all(biases.map(dataOf))).rejects.toThrow(
    /q_proj.bias.*: expected biases within .*, got 2500 in channel 0/,
  );
});

test('keys and values come out as the integers that the cache holds, the prefix first', async () => {
  const { config, weights } = await withPrefix(runtime, llama, randomWeights(llama), [5, 9]);
  const model = await quantized('w8a8', { config, weights });
  const prefill = await exportQnnPrefill(model, { tokens });
  expect(breaches(prefill.graph)).toEqual([]);
  const outputs = await outputsOf(prefill, textOf(config.vocab));
  for (const [part, site, tensor] of [
    ['keys', 'qk_bmm.input2', 'prefix_keys'],
    ['values', 'pv_bmm.input2', 'prefix_values'],
  ] as const) {
    const { data, shape } = outputs[`present.1.${part}`] as Values[string];
    expect(shape).toEqual([config.kvHeads, 2 + tokens, config.headDim]);
    const encoding = model.encodings.get(`model.layers.1.self_attn.${site}`);
    if (!encoding) throw new Error(`expected an encoding of ${site}`);
    const levels = quantize(await weights.read(`model.layers.1.self_attn.${tensor}`), encoding);
    const heads = Array.from({ length: config.kvHeads }, (_, head) => head);
    const size = config.headDim;
    expect(
      heads.flatMap((head) => [...data.subarray(head * (2 + tokens) * size).subarray(0, 2 * size)].map(Number)),
    ).toEqual([...levels]);
  }
  expect(relative(await logitsOf(model), await simulated(model))).toBeLessThan(0.03);
});

describe('decode behind a cache', () => {
  const context = 20;
  const levels = (values: Values, name: string): number[] =>
    Array.from((values[name] as Values[string]).data as Uint8Array);

  /** Reads a text in parts, each behind the cache of those before: logits and caches as integers, row by row. */
  async function inParts(model: QuantizedModel, text: Int32Array, part: number) {
    const { config, weights } = model;
    const [size, start] = [config.headDim, config.prefix.length];
    const { graph, inputs } = await exportQnnDecode(model, { context, tokens: part });
    const prepare = await runtime.compile(inputs);
    const program = await runtime.compile(graph, { optimization: 'disabled', integerProducts: false });
    const past = context - part;
    const cache: Values = Object.fromEntries(
      graph.inputs
        .filter(({ name }) => name.startsWith('past.'))
        // What lies in entries that hold nothing must not matter.
        .map(({ name }) => [
          name,
          {
            data: Uint8Array.from({ length: config.kvHeads * past * size }, (_, i) => (37 * i) % 256),
            shape: [config.kvHeads, past, size],
          },
        ]),
    );
    const put = (name: string, rows: readonly number[], at: number): void => {
      const [data, each] = [cache[name]?.data as Uint8Array, rows.length / config.kvHeads];
      for (let head = 0; head < config.kvHeads; head++)
        data.set(rows.slice(head * each, (head + 1) * each), (head * past + at) * size);
    };
    for (const [tensor, part, site] of [
      ['prefix_keys', 'keys', 'qk_bmm.input2'],
      ['prefix_values', 'values', 'pv_bmm.input2'],
    ] as const) {
      for (let layer = 0; layer < config.layers && start > 0; layer++) {
        const encoding = model.encodings.get(`model.layers.${layer}.self_attn.${site}`);
        if (!encoding) throw new Error(`expected an encoding of ${site}`);
        const prefix = await weights.read(`model.layers.${layer}.self_attn.${tensor}`);
        put(`past.${layer}.${part}`, [...quantize(prefix, encoding)], 0);
      }
    }
    const logits: number[] = [];
    for (let at = 0; at < text.length; at += part) {
      const ids = text.slice(at, at + part);
      const prepared = await prepare.run({
        input_ids: { data: ids, shape: [part] },
        past_length: { data: Int32Array.of(start + at), shape: [1] },
      });
      const outputs = await program.run({ ...prepared, ...cache });
      logits.push(...levels(outputs, 'logits'));
      for (const name of Object.keys(outputs).filter((name) => name.startsWith('present.')))
        if (start + at + part <= past) put(name.replace('present', 'past'), levels(outputs, name), start + at);
    }
    await Promise.all([prepare.release(), program.release()]);
    return { logits, cache };
  }

  test.each([
    ['llama', 1, []],
    ['llama', 1, [5, 9]],
    ['llama', 3, [5, 9]],
    ['gemma', 1, [5]],
    ['gemma3', 1, []],
    ['qwen2', 4, [3]],
  ] as const)('%s, %i tokens at once, prefix %o: what prefill says', async (name, part, prefix) => {
    const own = quantizedForm(architecture(name), 'exact');
    const { config, weights } = await withPrefix(runtime, own, tinyWeights(own, 21), prefix);
    const model = await quantized(recipes.w8a8, { config, weights });
    const text = textOf(config.vocab);
    const whole = await outputsOf(await exportQnnPrefill(model, { tokens }), text);
    const { logits, cache } = await inParts(model, text, part);
    const wanted = levels(whole, 'logits');
    const apart = wanted.map((level, i) => Math.abs(level - (logits[i] as number)));
    expect(wanted.length).toBe(tokens * config.vocab);
    expect(Math.max(...apart) / 65535).toBeLessThan(2e-4); // masked scores have a share of e^-12 each

    const entries = prefix.length + tokens - part; // the last ones were only given
    for (const part of ['keys', 'values']) {
      const size = config.headDim;
      const rows = (values: Values, name: string): number[] =>
        Array.from({ length: config.kvHeads }, (_, head) => {
          const { data, shape } = values[name] as Values[string];
          const from = head * (shape[1] as number) * size;
          return [...(data.subarray(from, from + entries * size) as Uint8Array)];
        }).flat();
      expect(rows(cache, `past.1.${part}`)).toEqual(rows(whole, `present.1.${part}`));
    }
  });

  test('a context without room is refused', async () => {
    await expect(exportQnnDecode(await quantized('w8a8'), { context: 1 })).rejects.toThrow('at least 2 positions');
    await expect(exportQnnDecode(await quantized('w8a8'), { context: 1e5 })).rejects.toThrow(
      'context: expected a length',
    );
  });
});

describe('the pair of graphs as a language model', () => {
  const pairOf = async (context: number, prefix: readonly number[] = [5, 9]) => {
    const { config, weights } = await withPrefix(runtime, llama, randomWeights(llama), prefix);
    const model = await quantized('w8a8', { config, weights });
    const [prefill, decode] = [await exportQnnPrefill(model, { tokens }), await exportQnnDecode(model, { context })];
    return qnnModel(runtime, { prefill, decode });
  };
  const collect = async (model: LanguageModel, prompt: Int32Array, count: number): Promise<number[]> => {
    const made: number[] = [];
    for await (const token of generate(model, prompt, { tokens: count })) made.push(token);
    return made;
  };

  test('goes on behind the cache as it would reading all again', async () => {
    const model = await pairOf(24);
    const prompt = textOf(llama.vocab).subarray(0, 4);
    const { begin: _, ...uncached } = model;
    const made = await collect(model, prompt, 8);
    expect(made).toHaveLength(8);
    expect(made).toEqual(await collect(uncached, prompt, 8));
    await model.release?.();
  });

  test('reads what is longer than prefill behind it, up to its context', async () => {
    const model = await pairOf(20, [5]);
    const text = randomTokens(19, llama.vocab, 4);
    const whole = model.begin?.();
    const parts = model.begin?.();
    const wanted = await whole?.read(text);
    await parts?.read(text.subarray(0, 3));
    for (const token of text.subarray(3, 18)) await parts?.read(Int32Array.of(token));
    expect(await parts?.read(text.subarray(18))).toEqual(wanted);
    await expect(parts?.read(text.subarray(0, 1))).rejects.toThrow('at most 19 tokens, got 20');
    await expect(model.logits(text)).rejects.toThrow(`at most ${tokens} tokens, got 19`);
    await model.release?.();
  });
});

test('the device form of a quantized model has the same integers, and the same logits', async () => {
  const model = await quantized('w8a8');
  const form = quantizedDeviceForm(model);
  expect([form.config.norm, form.config.finalNorm, form.config.scoreScale]).toEqual([
    'l2-folded',
    'l2-folded',
    'folded',
  ]);
  for (const site of ['self_attn.q_proj.weight', 'input_layernorm.weight', 'mlp.w2.weight']) {
    const name = `model.layers.1.${site}`;
    const levels = async ({ weights, encodings }: QuantizedModel) =>
      quantize(
        await weights.read(name),
        encodings.get(name) ?? { spec: a8, scale: Float32Array.of(1), zeroPoint: Int32Array.of(0) },
      );
    const [own, folded] = [await levels(model), await levels(form)];
    expect(folded.filter((level, i) => level !== own[i]).length).toBeLessThan(own.length / 500);
  }
  expect(relative(await simulated(form), await simulated(model))).toBeLessThan(1e-4);
});

test('biases are 32-bit integers in the products', async () => {
  const model = await modelOf(quantizedForm(architecture('qwen2'), 'exact'), recipes.w8a8);
  const { graph } = await exportQnnPrefill(model, { tokens });
  const site = 'model.layers.0.self_attn.q_proj';
  const bias = constant(graph, `${site}.bias_quantized`);
  const scales = numbers(graph, `${site}.bias_scale`);
  const levels = valuesOf(bias, await dataOf(bias));
  const wanted = await quantizedDeviceForm(model).weights.read(`${site}.bias`);
  expect(levels.some((level) => level !== 0)).toBe(true);
  levels.forEach((level, i) => {
    expect(Math.abs(level * (scales[i] as number) - (wanted[i] as number))).toBeLessThanOrEqual(
      0.51 * (scales[i] as number),
    );
  });
});

describe('what a device does not take is refused by the name of its site', () => {
  const refused = (rules: Recipe['rules']) => async () =>
    exportQnnPrefill(await quantized(withRules(recipes.w8a8, 'x', rules)));
  test.each([
    ['a symmetric weight', [{ site: 'model.layers.0.mlp.w1.weight', spec: a8 }], 'model.layers.0.mlp.w1.weight'],
    [
      '8 or 16 bits',
      [{ site: 'model.layers.0.mlp.w1.output', spec: { ...a8, bits: 6 } }],
      'model.layers.0.mlp.w1.output',
    ],
    ['symmetric', [{ site: 'model.layers.1.self_attn.pv_bmm.input2', spec: a8 }], 'present.1.values'],
    ['an encoding', [{ site: 'model.layers.1.self_attn.qk_bmm.output', spec: null }], 'product'],
    ['an encoding', [{ site: 'lm_head.weight', spec: null }], 'lm_head.weight'],
  ] as const)('%s', async (expected, rules, site) => {
    await expect(refused(rules)()).rejects.toThrow(expected);
    await expect(refused(rules)()).rejects.toThrow(site);
  });

  test('texts longer than the model', async () => {
    await expect(exportQnnPrefill(await quantized('w8a8'), { tokens: 65 })).rejects.toThrow('from 1 to 64');
  });
});

test('the target writes the graph and the one that prepares its inputs', async () => {
  const files = await qnnQdqTarget.export(await quantized('w8a8'), { tokens });
  expect([...files.keys()]).toEqual(['prefill.onnx', 'prefill-inputs.onnx', 'decode.onnx', 'decode-inputs.onnx']);
});
