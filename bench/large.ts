/**
 * Does a 1.1B model fit a laptop? A llama of TinyLlama's config with random weights in bfloat16 (2.2 GB, written here) is converted, then
 * observed and smoothed, learns one end-to-end step, and is exported, with weights of 8 bits and with weights left in float (4.4 GB, more than
 * a protobuf holds): time and peak memory of each. The larger export is then run on a text, beside the simulated model.
 *
 *     pnpm bench large [FOLDER] [TOKENS]
 *
 * What is written stays in FOLDER (default: a temporary one, removed at the end); about 18 GB.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSafetensors } from '@mobilequant/checkpoint/node';
import { checkpointForm, decoderTensors, parseConfig, storedName } from '@mobilequant/core';
import { runChild } from './child.ts';
import { atMost, printGoals } from './measure.ts';

const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 2048,
  intermediate_size: 5632,
  num_hidden_layers: 22,
  num_attention_heads: 32,
  num_key_value_heads: 4,
  vocab_size: 32000,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  torch_dtype: 'bfloat16',
};
const GB = 1e9;
const LARGEST = 4 * CONFIG.vocab_size * CONFIG.hidden_size; // bytes of the embedding in float32, of the head too

const given = process.argv[2];
const tokens = Number(process.argv[3] ?? 512);
const folder = given ?? (await mkdtemp(join(tmpdir(), 'mobilequant-large-')));
const at = (name: string): string => join(folder, name);

/** Random weights: normal numbers as bfloat16 bits, from one block of them that is used at shifting places. */
async function writeModel(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'config.json'), `${JSON.stringify(CONFIG, null, 2)}\n`);
  let state = 1;
  const uniform = (): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) + 0.5) / 2 ** 32;
  const normals = Float32Array.from(
    { length: 1 << 22 },
    () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
  const config = parseConfig(CONFIG);
  const form = checkpointForm(CONFIG);
  const tensors = [...decoderTensors(config)]
    .filter(({ optional }) => !optional)
    .map(({ name, shape }, index) => {
      const length = shape.reduce((a, b) => a * b, 1);
      const norm = name.endsWith('norm.weight');
      const size = norm ? 0.1 : name.includes('embed') ? 1 : 1 / Math.sqrt(shape.at(-1) as number);
      const data = (): Float32Array =>
        Float32Array.from({ length }, (_, i) => {
          const normal = normals[(i * 5 + index * 65537) % normals.length] as number;
          return (norm ? 1 : 0) + normal * size;
        });
      return { name: storedName(form, name), dtype: 'bfloat16' as const, shape, data };
    });
  await writeSafetensors(join(directory, 'model.safetensors'), tensors, { format: 'pt' });
}

/** One text of random ids for each purpose. */
async function writeIds(path: string): Promise<void> {
  let state = 7;
  const ids = Int32Array.from({ length: tokens }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % CONFIG.vocab_size;
  });
  await writeSafetensors(path, [{ name: 'ids', dtype: 'int32', shape: [1, tokens], data: () => ids }]);
}

interface Stage {
  readonly seconds: number;
  /** Peak resident memory, GB of 10⁹ bytes. */
  readonly peak: number;
}

/** Runs a program in a process of its own. */
async function program(name: string, file: string, ...args: readonly string[]): Promise<Stage> {
  const { stdout, seconds, peak: bytes } = await runChild(fileURLToPath(new URL(file, import.meta.url)), args);
  const peak = bytes / GB;
  console.log(`${name.padEnd(28)}${seconds.toFixed(0).padStart(5)} s   peak ${peak.toFixed(2)} GB   ${stdout.trim()}`);
  return { seconds, peak };
}

const stage = (name: string, ...args: readonly string[]): Promise<Stage> =>
  program(name, '../packages/mobilequant/src/cli.ts', ...args);

try {
  const start = performance.now();
  if (!existsSync(at('model/model.safetensors'))) await writeModel(at('model'));
  await writeIds(at('ids.safetensors'));
  console.log(
    `${'write 2.2 GB of weights'.padEnd(28)}${((performance.now() - start) / 1000).toFixed(0).padStart(5)} s`,
  );

  const calibration = ['--calibration', `${at('ids.safetensors')}:ids`, '--samples', '1', '--tokens', `${tokens}`];
  const quantize = ['quantize', at('converted'), '--recipe', 'w8a8', ...calibration];
  const quantized = at('smoothquant');
  const stages = [
    await stage('convert', 'convert', at('model'), '--out', at('converted')),
    await stage('observe, smooth', ...quantize, '--method', 'smoothquant', '--out', quantized),
    await stage('and learn one step', ...quantize, '--method', 'mobilequant', '--epochs', '1', '--out', at('learned')),
  ];
  const exports = [
    await stage('export', 'export', quantized, '--tokens', '64', '--out', at('onnx')),
    await program('export, weights in float', './large-export.ts', 'write', quantized, at('onnx-float')),
  ];
  await program('run that', './large-export.ts', 'run', quantized, at('onnx-float'));
  const peakOf = (some: readonly Stage[]): number => Math.max(...some.map(({ peak }) => peak));
  printGoals([
    atMost('peak memory, GB', peakOf(stages), 8),
    atMost('peak memory of an export, in its largest tensor', (peakOf(exports) * GB) / LARGEST, 6),
  ]);
} finally {
  if (!given) await rm(folder, { recursive: true, force: true });
}
