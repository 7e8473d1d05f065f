/**
 * A model's weights seen through a transformation: each layer is transformed when one of its tensors is read,
 * and only the last layer read is kept.
 */

import { type DecoderConfig, readLayer, rowsOf, specsOf, type Weights } from '@mobilequant/core';
import { type Executor, programCache, type TracedInputs, type Values } from '@mobilequant/tracer';
import type * as tf from '@tensorflow/tfjs';
import { applyTransform, type ChannelScale, type LayerTransform } from './transform.ts';

/** Scales of a layer as plain numbers; see `LayerTransform` for their shapes. */
export interface LayerScales {
  readonly qkv?: Float32Array;
  readonly fc1?: Float32Array;
  readonly out?: Float32Array;
  readonly fc2?: Float32Array;
  readonly qkt?: Float32Array;
}

/** The tensors of one layer after something was done to them. */
export type TransformLayer = (layer: number, tensors: Values) => Promise<Values>;

const LAYER = /^model\.layers\.(\d+)\.(.+)$/;

/**
 * @param transform what becomes of a layer's tensors, by their names in the layer; it may add tensors (biases).
 * @param added names in the layer of tensors that the transformation adds, with their shapes.
 */
export function viewWeights(
  weights: Weights,
  transform: TransformLayer,
  added: Readonly<Record<string, readonly number[]>> = {},
): Weights {
  let last: { layer: number; tensors: Promise<Values> } | undefined;

  const layerOf = (layer: number): Promise<Values> => {
    if (last?.layer !== layer)
      last = { layer, tensors: readLayer(weights, layer).then((tensors) => transform(layer, tensors)) };
    return last.tensors;
  };
  const find = (name: string) => {
    const match = LAYER.exec(name);
    return match ? { layer: Number(match[1]), local: match[2] as string } : undefined;
  };
  const layers = new Set(weights.names().flatMap((name) => find(name)?.layer ?? []));
  const fresh = [...layers].flatMap((layer) => Object.keys(added).map((name) => `model.layers.${layer}.${name}`));
  const names = [...new Set([...weights.names(), ...fresh])];
  const shape = (name: string): readonly number[] =>
    weights.has(name) ? weights.shape(name) : (added[find(name)?.local ?? ''] ?? weights.shape(name));

  async function read(name: string): Promise<Float32Array> {
    const found = find(name);
    if (!found) return weights.read(name);
    const tensor = (await layerOf(found.layer))[found.local];
    if (!tensor)
      throw new Error(
        `weights: expected the transformed layer ${found.layer} to have '${found.local}', got ${Object.keys(await layerOf(found.layer)).join(', ')}.`,
      );
    return tensor.data as Float32Array;
  }

  return {
    names: () => names,
    has: (name) => names.includes(name),
    shape,
    read,
    readRows: async (name, rows) =>
      find(name) ? rowsOf(await read(name), shape(name)[1] as number, rows) : weights.readRows(name, rows),
  };
}

/** Weights with each layer's channels scaled. */
export function scaledWeights(
  executor: Executor,
  config: DecoderConfig,
  weights: Weights,
  scalesOf: (layer: number, tensors: Values) => LayerScales | Promise<LayerScales>,
): Weights {
  const programs = programCache(executor);
  return viewWeights(weights, async (layer, tensors) => {
    const scales = scaleValues(await scalesOf(layer, tensors));
    if (Object.keys(scales).length === 0) return tensors;
    const specs = specsOf({ ...tensors, ...scales });
    const program = await programs.program(
      JSON.stringify(specs),
      () => specs,
      (inputs) => scaled(inputs, Object.keys(tensors), config),
    );
    return { ...tensors, ...unprefixed(await program.run({ ...tensors, ...scales })) };
  });
}

/** Scales as inputs of a graph: `scale.qkv`, …. */
export const scaleValues = (scales: LayerScales): Values =>
  Object.fromEntries(
    Object.entries<Float32Array>({ ...scales }).map(([pair, data]) => [
      `scale.${pair}`,
      { data, shape: [data.length] },
    ]),
  );

const OUT = 'new:'; // outputs of a graph need names of their own

const unprefixed = (values: Values): Values =>
  Object.fromEntries(Object.entries(values).map(([name, v]) => [name.slice(OUT.length), v]));

/** The transformation that such inputs stand for. */
export function scaleTransform(inputs: TracedInputs): LayerTransform {
  const scale = (pair: keyof LayerScales): ChannelScale | undefined => {
    const tensor = inputs[`scale.${pair}`];
    return tensor && { scale: tensor };
  };
  return {
    qkv: scale('qkv'),
    fc1: scale('fc1'),
    out: scale('out'),
    fc2: scale('fc2'),
    qkt: scale('qkt')?.scale,
  };
}

/** The tensors that the scales change, under names of their own. */
function scaled(inputs: TracedInputs, names: readonly string[], config: DecoderConfig): Record<string, tf.Tensor> {
  const weights = Object.fromEntries(names.map((name) => [name, inputs[name] as tf.Tensor]));
  const changed = Object.entries(applyTransform(weights, scaleTransform(inputs), config)).filter(
    ([name, w]) => w !== weights[name],
  );
  return Object.fromEntries(changed.map(([name, w]) => [OUT + name, w]));
}
