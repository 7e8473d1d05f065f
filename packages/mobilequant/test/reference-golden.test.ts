/**
 * What the reference implementation learned, put into its own files, against the logits that it computed after loading them.
 * `MOBILEQUANT_GOLDEN` names the folder of its cases.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '@mobilequant/checkpoint/node';
import { createDecoder, simulatedReading } from '@mobilequant/core';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readQuantized, writeReference } from '../src/index.ts';

const golden = process.env.MOBILEQUANT_GOLDEN;
const cases = golden ? (await readdir(golden, { withFileTypes: true })).filter((entry) => entry.isDirectory()) : [];
const read = async (...path: string[]) => JSON.parse(await readFile(join(golden as string, ...path), 'utf8'));

/** Jobs whose learned weights are there, with their precisions. */
async function jobsOf(name: string): Promise<string[]> {
  const manifest = await read(name, 'manifest.json').catch(() => ({ files: {} }));
  return Object.entries<object>(manifest.files ?? {}).flatMap(([file, tensors]) =>
    Object.keys(tensors).some((tensor) => tensor.startsWith('final.weight.')) ? [file.replace('.safetensors', '')] : [],
  );
}

const jobs = (
  await Promise.all(cases.map(async ({ name }) => (await jobsOf(name)).map((job) => [name, job] as const)))
).flat();

/** The unified config of a case, as the reference's authors would write it. */
function unified(config: Record<string, unknown>): Record<string, unknown> {
  const { model_type: type } = config;
  const gemma = type === 'gemma';
  const layerNorm = type === 'stablelm';
  return {
    model_type: 'hfmodel',
    ...Object.fromEntries(
      ['vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads']
        .concat(['num_key_value_heads', 'max_position_embeddings', 'rope_theta'])
        .flatMap((key) => (key in config ? [[key, config[key]]] : [])),
    ),
    head_dim: gemma ? config['head_dim'] : null,
    hidden_act: gemma ? 'gelu_pytorch_tanh' : config['hidden_act'],
    norm_class: layerNorm ? 'layernorm' : 'rmsnorm',
    layer_norm_eps: config['rms_norm_eps'] ?? config['layer_norm_eps'],
    normalize_embed: gemma,
    partial_rotary_factor: layerNorm ? (config['partial_rotary_factor'] ?? 0.25) : 1.0,
    attention_bias: config['use_qkv_bias'] === true,
    use_qkv_bias_only: config['use_qkv_bias'] === true,
    tie_word_embeddings: config['tie_word_embeddings'] ?? gemma,
  };
}

let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mobilequant-golden-'));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

/** The case's checkpoint with what a job learned, as the reference saves it. */
async function writeJob(name: string, job: string): Promise<string> {
  const folder = join(directory, `${name}-${job}`);
  await mkdir(folder);
  const config = await read(name, 'config.json');
  const precision = /w\da\d(-sym)?$/.exec(job)?.[0] as string;
  const files = {
    'config.json': unified(config),
    'act_dict.json': (await read(name, 'act_ranges.json')).after_training[job],
    'default_qcfg.json': (await read(name, 'quant_config.json'))[precision],
  };
  for (const [file, json] of Object.entries(files)) await writeFile(join(folder, file), JSON.stringify(json));
  const original = await readSafetensors(join(golden as string, name, 'model.safetensors'));
  const learned = await readSafetensors(join(golden as string, name, `${job}.safetensors`));
  const ends = [...original.tensors].filter(([tensor]) => !tensor.startsWith('model.layers.'));
  const layers = [...learned.tensors].flatMap(([tensor, value]) => {
    const own = /^final\.weight\.(.+)$/.exec(tensor)?.[1];
    return own === undefined ? [] : [[own, value] as const];
  });
  const plusOne = (tensor: string, data: Float32Array) =>
    config.model_type === 'gemma' && tensor === 'model.norm.weight' ? data.map((w) => w + 1) : data;
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    [...ends, ...layers].map(([tensor, { shape, data }]) => ({
      name: tensor,
      dtype: 'float32' as const,
      shape,
      data: () => plusOne(tensor, data as Float32Array),
    })),
  );
  return folder;
}

describe.skipIf(!golden)('checkpoints of the reference (MOBILEQUANT_GOLDEN)', () => {
  test('there are some', () => expect(jobs.length).toBeGreaterThan(0));

  test.each(jobs)(
    '%s, %s loads and computes what the reference computes, and is written as it was',
    async (name, job) => {
      const folder = await writeJob(name, job);
      const model = await readQuantized(folder);
      const decoder = createDecoder(nodeRuntime(), model.config, model.weights, {
        reading: simulatedReading(model.encodings),
      });
      const tensorIn = async (file: string, tensor: string) => {
        const { tensors } = await readSafetensors(join(golden as string, name, `${file}.safetensors`));
        return tensors.get(tensor) ?? expect.fail(`${file}: no tensor '${tensor}'`);
      };
      const { data: want } = await tensorIn(job, 'final.logits_reloaded');
      const { data: ids, shape } = await tensorIn('float', 'input_ids.eval');
      const [rows, tokens] = shape as [number, number];
      let [apart, all] = [0, 0];
      for (let row = 0; row < rows; row++) {
        const text = Int32Array.from(ids.subarray(row * tokens, (row + 1) * tokens) as Int32Array);
        const got = await decoder.logits(await decoder.hidden(text));
        got.forEach((x, i) => {
          const y = want[row * got.length + i] as number;
          apart += (x - y) ** 2;
          all += y ** 2;
        });
      }
      await decoder.release();
      // A rounding that falls on the other side goes through all layers behind it; quantization itself is off by more than a tenth.
      expect(Math.sqrt(apart / all)).toBeLessThan(0.04);

      const again = join(directory, `${name}-${job}-again`);
      expect(await writeReference(again, { model, from: model.checkpoint, dtype: 'float32' })).toEqual([]);
      expect((await readQuantized(again)).encodings).toEqual(model.encodings);
    },
  );
});
