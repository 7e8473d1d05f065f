/**
 * A folder of numbers that the reference computed for one model: what is there is what its manifest and its files say.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint, readSafetensors } from '@mobilequant/checkpoint/node';
import {
  ConfigError,
  cachedWeights,
  checkpointForm,
  type DecoderConfig,
  fromCheckpoint,
  parseConfig,
  type Weights,
  weightsFrom,
} from '@mobilequant/core';
import type { Complaint, Noise } from './closeness.ts';
import { SILENT } from './closeness.ts';

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export type GoldenTensors = ReadonlyMap<string, GoldenTensor>;

/** One step of training in the manifest: the loss before it, and the learning rates of the parameter groups (LET, LWC, LRL). */
export interface GoldenStep {
  readonly step: number;
  readonly loss: number;
  readonly lr: readonly number[];
}

export interface GoldenTraining {
  /** `all` end to end, `layer0`, `layer1`, … layer by layer. */
  readonly steps: Readonly<Record<string, readonly GoldenStep[]>>;
  readonly loss_noise_max: readonly number[];
  readonly loss64_step0: number;
}

export interface GoldenManifest {
  /** The steps after which parameters are stored, 0 first. */
  readonly steps: readonly number[];
  readonly files: Readonly<Record<string, Readonly<Record<string, readonly (number | null)[]>>>>;
  readonly training: Readonly<Record<string, GoldenTraining>>;
}

/** Module → port → [min, max]. */
export type GoldenRanges = Readonly<Record<string, Readonly<Record<string, readonly [number, number]>>>>;

export interface GoldenCase {
  readonly name: string;
  readonly config: DecoderConfig;
  readonly weights: Weights;
  readonly manifest: GoldenManifest;
  readonly ranges: {
    readonly calibration: Readonly<Record<string, GoldenRanges>>;
    readonly after_training: Readonly<Record<string, GoldenRanges>>;
  };
  /** Token ids of the rows that statistics and learning see, and of those that are evaluated. */
  readonly calibration: readonly Int32Array[];
  readonly evaluation: readonly Int32Array[];
  readonly float: GoldenTensors;
  /** Empty where the case has none. */
  readonly device: GoldenTensors;
  /** A file's tensors by its name without the ending; none if it is not there. */
  file(name: string): Promise<GoldenTensors>;
  noise(file: string, tensor: string): Noise;
}

export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

/** All cases in a folder, and what is not a case, or not one that this decoder covers. */
export async function openGolden(directory: string): Promise<{ cases: GoldenCase[]; skipped: Skipped[] }> {
  const cases: GoldenCase[] = [];
  const skipped: Skipped[] = [];
  for (const { name } of readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
    const missing = ['config.json', 'manifest.json', 'float.safetensors'].filter(
      (file) => !existsSync(join(directory, name, file)),
    );
    if (missing.length > 0) {
      skipped.push({ name, reason: `not a model case: it has no ${missing.join(', ')}` });
      continue;
    }
    try {
      cases.push(await openCase(join(directory, name), name));
    } catch (error) {
      if (!(error instanceof ConfigError && error.key === 'model_type')) throw error;
      skipped.push({ name, reason: error.message });
    }
  }
  return { cases, skipped };
}

async function openCase(folder: string, name: string): Promise<GoldenCase> {
  const json = (file: string) => JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const config = parseConfig(json('config.json'));
  const weights = fromCheckpoint(checkpointForm(json('config.json')), (await openCheckpoint(folder)).weights);
  const manifest: GoldenManifest = json('manifest.json');
  const files = new Map<string, Promise<GoldenTensors>>();
  const file = (stem: string): Promise<GoldenTensors> => {
    let tensors = files.get(stem);
    if (!tensors) files.set(stem, (tensors = readTensors(join(folder, `${stem}.safetensors`))));
    return tensors;
  };
  const float = await file('float');
  return {
    name,
    config,
    weights: cachedWeights(weights),
    manifest,
    ranges: existsSync(join(folder, 'act_ranges.json'))
      ? json('act_ranges.json')
      : { calibration: {}, after_training: {} },
    calibration: rowsOf(float.get('input_ids.calib')).map((row) => Int32Array.from(row)),
    evaluation: rowsOf(float.get('input_ids.eval')).map((row) => Int32Array.from(row)),
    float,
    device: await file('device-form'),
    file,
    noise(stem, tensor) {
      const [rms, max, rmsDifference] = manifest.files[`${stem}.safetensors`]?.[tensor] ?? [];
      return rms == null || max == null || rmsDifference == null ? SILENT : { rms, max, rmsDifference };
    },
  };
}

async function readTensors(path: string): Promise<GoldenTensors> {
  if (!existsSync(path)) return new Map();
  const { tensors } = await readSafetensors(path);
  return new Map(
    [...tensors].map(([name, { shape, data }]) => [name, { shape, data: Float32Array.from(data as Float32Array) }]),
  );
}

/** The first axis apart. */
export function rowsOf(tensor: GoldenTensor | undefined): Float32Array[] {
  if (!tensor) return [];
  const count = tensor.shape[0] as number;
  const size = tensor.data.length / count;
  return Array.from({ length: count }, (_, i) => tensor.data.subarray(i * size, (i + 1) * size));
}

export const joined = (parts: readonly Float32Array[]): Float32Array =>
  Float32Array.from(parts.flatMap((part) => [...part]));

/** The tensors whose names start with a prefix, by the rest of their names. */
export function under(tensors: GoldenTensors, prefix: string): [string, GoldenTensor][] {
  return [...tensors].flatMap(([name, tensor]): [string, GoldenTensor][] =>
    name.startsWith(prefix) ? [[name.slice(prefix.length), tensor]] : [],
  );
}

/**
 * The same weights, each moved by at most a rounding of float32, another way for each seed; 0 leaves them alone. Whatever this changes
 * beyond rounding, a value has fallen on the other side of a step.
 */
export function perturbed(weights: Weights, seed: number): Weights {
  if (seed === 0) return weights;
  const move = (w: Float32Array, name: string): Float32Array => {
    let state = seed * 2654435761 + name.length;
    return w.map((value) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return value * (1 + (state < 2 ** 31 ? 2 ** -23 : -(2 ** -23)));
    });
  };
  return cachedWeights({
    names: () => weights.names(),
    has: (name) => weights.has(name),
    shape: (name) => weights.shape(name),
    read: async (name) => move(await weights.read(name), name),
    readRows: async (name, rows) => move(await weights.readRows(name, rows), name),
  });
}

/**
 * The readings of a config: a gemma's `gelu` is the exact function to the reference and to some versions of transformers, and the
 * approximation to others.
 */
export const readingsOf = (config: DecoderConfig): DecoderConfig[] =>
  config.activation === 'silu'
    ? [config]
    : (['gelu-tanh', 'gelu'] as const)
        .map((activation) => ({ ...config, activation }))
        .sort((a) => (a.activation === config.activation ? -1 : 1));

/** A checkpoint with some of its tensors replaced, or added to. */
export function replaced(weights: Weights, tensors: ReadonlyMap<string, GoldenTensor>): Weights {
  const own = weightsFrom(tensors);
  const of = (name: string) => (own.has(name) ? own : weights);
  return {
    names: () => [...new Set([...weights.names(), ...own.names()])],
    has: (name) => of(name).has(name),
    shape: (name) => of(name).shape(name),
    read: (name) => of(name).read(name),
    readRows: (name, rows) => of(name).readRows(name, rows),
  };
}

/** Collects what is wrong by name, so that one failure shows all. */
export class Complaints {
  readonly list: string[] = [];
  /** How many comparisons were made: a suite that compares nothing must not pass. */
  count = 0;

  add(name: string, complaint: Complaint): void {
    this.count++;
    if (complaint) this.list.push(`${name}: ${complaint}`);
  }
}
