/** What a quantized directory says of itself, without running it: how it was made, how large it is, what it asks of a device. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { linearWork } from '@mobilequant/calibration';
import { type JsonObject, type JsonValue, readJsonIfThere } from '@mobilequant/checkpoint/node';
import type { QuantizedModel } from '@mobilequant/core';
import { rangesFromEncoding } from '@mobilequant/quantizer';
import type { ModelFacts, Range, SiteRanges, Tuning } from '@mobilequant/report';
import { bytesByWidth, QUANTIZATION_FILE, readQuantized, sizesOf } from './quantized-directory.ts';
import { RANGES_FILE } from './read-reference.ts';

export interface OpenedModel {
  readonly directory: string;
  readonly model: QuantizedModel;
  readonly facts: ModelFacts;
  /** Of the file that says how it is quantized: another one is another model. */
  readonly digest: string;
}

/** Opens a quantized directory. Throws what `readQuantized` throws. */
export async function openFacts(directory: string): Promise<OpenedModel> {
  const model = await readQuantized(directory);
  const json = await readJsonIfThere(join(directory, QUANTIZATION_FILE));
  const name = basename(directory);
  const { float, quantized } = sizesOf(model);
  const tuning = tuningOf(json?.['tuning']);
  const facts: ModelFacts = {
    name,
    source: textOf(json?.['source']) ?? name,
    recipe: model.recipe.name,
    method: textOf(json?.['method']) ?? 'the reference implementation',
    options: optionsOf(json?.['options']),
    floatBytes: float,
    bytes: quantized,
    weights: bytesByWidth(model),
    work: workByWidth(model),
    ...(tuning && { tuning }),
  };
  const file = await readFile(join(directory, json ? QUANTIZATION_FILE : RANGES_FILE));
  return { directory, model, facts, digest: createHash('sha256').update(file).digest('hex') };
}

const textOf = (value: JsonValue | undefined): string | undefined => (typeof value === 'string' ? value : undefined);

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Names and values; those of the plan are as options of their own. */
function optionsOf(options: JsonValue | undefined): [string, string][] {
  if (!isObject(options)) return [];
  return Object.entries(options).flatMap(([name, value]): [string, string][] => {
    if (name === 'plan') return optionsOf(value);
    if (isObject(value))
      return [
        [
          name,
          optionsOf(value)
            .map(([key, own]) => `${key} ${own}`)
            .join(', '),
        ],
      ];
    return [[name, Array.isArray(value) ? value.join(', ') || 'none' : String(value)]];
  });
}

/** How tuning went, as far as the file is in order. */
function tuningOf(json: JsonValue | undefined): Tuning | undefined {
  if (!isObject(json) || typeof json['step'] !== 'number' || !Array.isArray(json['evaluations'])) return undefined;
  const evaluations = json['evaluations'].flatMap((entry: JsonValue) => {
    if (!isObject(entry)) return [];
    const { step, divergence } = entry;
    return typeof step === 'number' && typeof divergence === 'number' ? [{ step, divergence }] : [];
  });
  return { step: json['step'], evaluations };
}

function workByWidth({ config, weights, encodings }: QuantizedModel): ModelFacts['work'] {
  const found = new Map<string, { weightBits: number; inputBits: number; products: number }>();
  for (const { weightBits, inputBits, products } of linearWork(config, weights, encodings)) {
    const key = `${weightBits} ${inputBits}`;
    found.set(key, { weightBits, inputBits, products: products + (found.get(key)?.products ?? 0) });
  }
  return [...found.values()];
}

/** Sites of the layers in the order of the encodings: full names by name in the layer. A hole is a layer without that site. */
export function sitesByKind(names: Iterable<string>, layers: number): Map<string, (string | undefined)[]> {
  const kinds = new Map<string, (string | undefined)[]>();
  for (const name of names) {
    const [, layer, site] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
    if (layer === undefined || site === undefined) continue;
    const own = kinds.get(site) ?? new Array<string | undefined>(layers).fill(undefined);
    own[Number(layer)] = name;
    kinds.set(site, own);
  }
  return kinds;
}

/** What the grids of activations cover, and what passed there before. */
export function rangesOfSites({ config, encodings }: QuantizedModel, before: ReadonlyMap<string, Range>): SiteRanges[] {
  const activations = [...encodings.keys()].filter((site) => !site.endsWith('.weight'));
  const covered = (site: string): Range => {
    const { min, max } = rangesFromEncoding(encodings.get(site) as NonNullable<ReturnType<typeof encodings.get>>);
    return { min: Math.min(...min), max: Math.max(...max) };
  };
  return [...sitesByKind(activations, config.layers)].map(([site, names]) => ({
    site,
    before: names.map((name) => {
      const range = name === undefined ? undefined : before.get(name);
      return range ? { min: range.min, max: range.max } : null;
    }),
    after: names.map((name) => (name === undefined ? null : covered(name))),
  }));
}
