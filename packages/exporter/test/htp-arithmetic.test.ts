/** What `htpArithmetic` computes, against what Qualcomm's emulator computed for the same graphs (`scripts/htp/arithmetic.py`). */
import { readFileSync } from 'node:fs';
import { decodeModel, type Graph, type Initializer } from '@mobilequant/graph';
import type { RuntimeOptions, Value, Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { expect, test } from 'vitest';
import { htpArithmetic } from '../src/index.ts';

const runtime = nodeRuntime();
const AS_WRITTEN: RuntimeOptions = { optimization: 'disabled', integerProducts: false };

/** Percent of the values that equal the emulator's (at least), steps that one is beside (at most); percent without the NPU's arithmetic (at most). */
type Limits = readonly [equal: number, most: number, plain: number];

// biome-ignore format: a table
const CASES: Readonly<Record<string, Limits>> = {
  'gemm-u8-s8':          [100, 0, 98],
  'gemm-u8-s8-tensor':   [100, 0, 98.5],
  'gemm-u8-s4':          [100, 0, 98],
  'gemm-u16-s8':         [100, 0, 91.5],
  'gemm-u16-s8-tensor':  [100, 0, 92],
  'gemm-u16-s4':         [100, 0, 69],
  'gemm-u16-s8-deep':    [100, 0, 99],
  'matmul-u8':           [100, 0, 98],
  'matmul-u16-scores':   [100, 0, 85],
  'matmul-u16-values':   [100, 0, 23.5],
  'add-u16':             [100, 0, 79],
  'add-u16-mask':        [99.5, 1, 100],
  'mul-u16':             [97, 1, 98],
  'mul-u16-constant':    [94.5, 1, 95.5],
  'convert-u8-u16':      [100, 0, 100],
  'convert-u16-u8':      [99, 1, 100],
  'convert-u16-u16':     [93.5, 1, 94.5],
  'lpnormalization-u16': [99, 1, 52.5],
  'softmax-u16':         [85, 18, 50.5],
  'sigmoid-u8':          [100, 0, 100],
  'sigmoid-u16':         [42.5, 2, 29],
  'gelu-u8':             [100, 0, 100],
  'gelu-u16':            [17.5, 15, 18.5],
  'rotary-u16':          [93, 2, 78.5],
};

for (const [name, [equal, most, plain]] of Object.entries(CASES)) {
  test(`${name}: as the emulator has it`, async () => {
    const { graph, inputs, output } = fixture(name);
    const simulated = await run(await htpArithmetic(graph), inputs);
    const written = await run(graph, inputs);
    const [near, far] = [compare(simulated, output), compare(written, output)];
    expect(near.equal).toBeGreaterThanOrEqual(equal);
    expect(near.most).toBeLessThanOrEqual(most);
    expect(far.equal).toBeLessThanOrEqual(plain);
  });
}

async function run(graph: Graph, inputs: Values): Promise<Value> {
  const program = await runtime.compile(graph, AS_WRITTEN);
  const outputs = await program.run(inputs);
  await program.release();
  return Object.values(outputs)[0] as Value;
}

/** Percent that are equal, and the largest difference in steps. */
function compare({ data }: Value, expected: Uint8Array | Uint16Array): { equal: number; most: number } {
  expect(data.length).toBe(expected.length);
  const differences = Array.from(expected, (level, i) => Math.abs((data[i] as number) - level));
  return {
    equal: (100 * differences.filter((d) => d === 0).length) / expected.length,
    most: Math.max(...differences),
  };
}

function fixture(name: string): { graph: Graph; inputs: Values; output: Uint8Array | Uint16Array } {
  const { model, inputs, outputs } = JSON.parse(
    readFileSync(new URL(`fixtures/htp/${name}.json`, import.meta.url), 'utf8'),
  ) as Record<'inputs' | 'outputs', Record<string, string>> & { model: string };
  const graph = decodeModel(bytesOf(model));
  const levels = (text: string, { type }: { type: string }) =>
    type === 'uint16' ? new Uint16Array(bytesOf(text).buffer) : bytesOf(text);
  const [output] = graph.outputs as [Graph['outputs'][number]];
  return {
    graph,
    inputs: Object.fromEntries(
      graph.inputs.map((input) => [
        input.name,
        { data: levels(inputs[input.name] as string, input), shape: input.shape as number[] },
      ]),
    ),
    output: levels(outputs[output.name] as string, output),
  };
}

/** In a buffer of their own. */
const bytesOf = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(text, 'base64'));

test('an operator that is not known is an error with its name', async () => {
  const { graph } = fixture('sigmoid-u16');
  const nodes = graph.nodes.map((node) => (node.op === 'Sigmoid' ? { ...node, op: 'Tanh' } : node));
  await expect(htpArithmetic({ ...graph, nodes })).rejects.toThrow(
    'an operator whose arithmetic on HTP is known (Add, Convert, Gelu, Gemm, LpNormalization, MatMul, Mul, Sigmoid, Softmax), got Tanh',
  );
});

test('a product whose second operand is not symmetric is an error', async () => {
  const { graph } = fixture('matmul-u8');
  const [, second] = graph.nodes.filter(({ op }) => op === 'DequantizeLinear');
  const zero = graph.initializers.get(second?.inputs[2] as string) as Initializer;
  const initializers = new Map(graph.initializers).set(zero.name, { ...zero, data: Uint8Array.of(127) });
  await expect(htpArithmetic({ ...graph, initializers })).rejects.toThrow(
    'expected a second operand of 8 bits, symmetric',
  );
});
