/**
 * How fast is a quantized block and its gradient? Against its own float32 matrix products in the same ONNX Runtime,
 * against the same function on tfjs wasm, and against PyTorch if `MOBILEQUANT_PYTHON` names a Python that has it.
 * One thread, T = 512, W4A8 with LET, LWC and LRL.
 *
 *     pnpm bench engine [recipe]
 */

import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type RecipeName, recipes } from '@mobilequant/quantizer';
import { eagerExecutor, trace, type Value, type Values } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { blockUnderTest, linearShapes, SMOLLM2 } from './llama-block.ts';
import { atLeast, atMost, bell, type Goal, printGoals, race, random } from './measure.ts';

const TOKENS = 512;
const recipe = (process.argv[2] ?? 'paper-w4a8') as RecipeName;
if (!recipes[recipe])
  throw new Error(`bench engine: expected one of ${Object.keys(recipes).join(', ')}, got '${recipe}'.`);
const runtime = nodeRuntime({ threads: 1, spinning: true });
const next = random(3);

/** The block's float32 matrix products and nothing else: 9 forward, 27 with the backward's. */
function productsGraph(backward: boolean): ReturnType<typeof trace> {
  const { kvHeads, heads, headDim } = SMOLLM2;
  const rows = (heads / kvHeads) * TOKENS;
  const specs: Record<string, number[]> = {
    q: [kvHeads, rows, headDim],
    k: [kvHeads, TOKENS, headDim],
    v: [kvHeads, TOKENS, headDim],
    p: [kvHeads, rows, TOKENS],
  };
  if (backward) Object.assign(specs, { dp: [kvHeads, rows, TOKENS], dm: [kvHeads, rows, headDim] });
  for (const [module, [out, inputs]] of Object.entries(linearShapes(SMOLLM2))) {
    Object.assign(specs, { [`x.${module}`]: [TOKENS, inputs], [`w.${module}`]: [out, inputs] });
    if (backward) specs[`d.${module}`] = [TOKENS, out];
  }
  return trace((inputs) => {
    const product = (a: string, b: string, ta = false, tb = false) =>
      tf.matMul(inputs[a] as tf.Tensor, inputs[b] as tf.Tensor, ta, tb);
    const results: Record<string, tf.Tensor> = { scores: product('q', 'k', false, true), mixed: product('p', 'v') };
    if (backward)
      Object.assign(results, {
        dq: product('dp', 'k'),
        dk: product('dp', 'q', true),
        dpr: product('dm', 'v', false, true),
        dv: product('p', 'dm', true),
      });
    for (const module of Object.keys(linearShapes(SMOLLM2))) {
      results[`y.${module}`] = product(`x.${module}`, `w.${module}`, false, true);
      if (!backward) continue;
      results[`dx.${module}`] = product(`d.${module}`, `w.${module}`);
      results[`dw.${module}`] = product(`d.${module}`, `x.${module}`, true);
    }
    return results;
  }, specs);
}

async function products(backward: boolean): Promise<() => Promise<unknown>> {
  const graph = productsGraph(backward);
  const program = await runtime.compile(graph);
  const values: Values = Object.fromEntries(
    graph.inputs.map(({ name, shape }) => {
      const sizes = shape as number[];
      const size = sizes.reduce((a, b) => a * b, 1);
      return [name, { data: bell(size, 1, next), shape: sizes }];
    }),
  );
  return () => program.run(values);
}

const { programs, sample, weights } = await blockUnderTest(runtime, SMOLLM2, TOKENS, recipe);
const learnables = programs.learnables(0);
const x: Value = { data: await weights.readRows('model.embed_tokens.weight', sample), shape: [TOKENS, SMOLLM2.hidden] };
const dy: Value = { data: bell(TOKENS * SMOLLM2.hidden, 1, next), shape: [TOKENS, SMOLLM2.hidden] };

const forward = () => programs.forward(0, x, learnables);
const vjp = () => programs.vjp(0, x, dy, learnables);
console.log(`One block of SmolLM2-135M's size, T = ${TOKENS}, ${recipe}, one thread.`);
const times = await race([
  { name: 'products forward', run: await products(false) },
  { name: 'forward', run: forward },
  { name: 'products forward + backward', run: await products(true) },
  { name: 'vjp', run: vjp },
]);
const time = (name: string): number => times[name] as number;

/** The same functions eagerly on tfjs wasm, the fastest tfjs backend that runs anywhere. */
async function wasm(): Promise<{ forward: number; vjp: number }> {
  setWasmPaths(
    createRequire(import.meta.url)
      .resolve('@tensorflow/tfjs-backend-wasm/package.json')
      .replace('package.json', 'dist/'),
  );
  await tf.setBackend('wasm');
  await tf.ready();
  const eager = (await blockUnderTest(runtime, SMOLLM2, TOKENS, recipe, eagerExecutor())).programs;
  const best = await race(
    [
      { name: 'forward', run: () => eager.forward(0, x, learnables) },
      { name: 'vjp', run: () => eager.vjp(0, x, dy, learnables) },
    ],
    2,
    1,
  );
  return { forward: best['forward'] as number, vjp: best['vjp'] as number };
}

/** PyTorch eager as the reference writes the block. */
function torch(): { forward: number; vjp: number } | undefined {
  const python = process.env['MOBILEQUANT_PYTHON'];
  if (!python) {
    console.log('PyTorch: skipped, MOBILEQUANT_PYTHON names no Python with torch.');
    return undefined;
  }
  const { stdout, stderr, status } = spawnSync(
    python,
    [fileURLToPath(new URL('./torch-block.py', import.meta.url)), '1'],
    { encoding: 'utf8' },
  );
  if (status !== 0) throw new Error(`bench engine: ${python} failed: ${stderr.trim().split('\n').at(-1)}`);
  return JSON.parse(stdout) as { forward: number; vjp: number };
}

const onWasm = await wasm();
const onTorch = torch();
console.log('\n| | forward ms | vjp ms |\n|---|---|---|');
console.log(
  `| float32 products alone | ${time('products forward').toFixed(1)} | ${time('products forward + backward').toFixed(1)} |`,
);
console.log(`| this | ${time('forward').toFixed(1)} | ${time('vjp').toFixed(1)} |`);
console.log(`| tfjs wasm | ${onWasm.forward.toFixed(0)} | ${onWasm.vjp.toFixed(0)} |`);
if (onTorch) console.log(`| PyTorch eager | ${onTorch.forward.toFixed(1)} | ${onTorch.vjp.toFixed(1)} |`);

const goals: Goal[] = [
  atMost('forward / products', time('forward') / time('products forward'), 0.8),
  atMost('vjp / products', time('vjp') / time('products forward + backward'), 1.45),
  atLeast('tfjs wasm / forward', onWasm.forward / time('forward'), 15),
  atLeast('tfjs wasm / vjp', onWasm.vjp / time('vjp'), 12),
];
if (onTorch) {
  goals.push(
    atLeast('PyTorch / forward', onTorch.forward / time('forward'), 4),
    atLeast('PyTorch / vjp', onTorch.vjp / time('vjp'), 3),
  );
}
printGoals(goals);
