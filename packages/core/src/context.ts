/**
 * What a block is given beside its weights: values that depend on positions alone, the same for every layer of a kind.
 */
import type { Value, Values } from '@mobilequant/tracer';
import { type DecoderConfig, isSliding } from './config.ts';
import { ropeTables } from './rope.ts';

/** What a masked score gets: float32's lowest, so that no probability is left. */
export const MASKED: number = -3.4028234663852886e38;

/** Attention to itself and what came before, or the last `window` of these, `[1, tokens, past + tokens]`. */
export function causalMask(tokens: number, past = 0, window: number = Infinity): Float32Array {
  const width = past + tokens;
  return Float32Array.from({ length: tokens * width }, (_, i) => {
    const [key, query] = [i % width, past + Math.floor(i / width)];
    return key > query || key <= query - window ? MASKED : 0;
  });
}

/**
 * Rotary tables and mask of `tokens` positions behind the prefix and `past` others, as a layer has them: a `BlockContext` as values.
 */
export function contextValues(
  config: DecoderConfig,
  tokens: number,
  past = 0,
  layer = 0,
): Record<'cos' | 'sin' | 'mask', Value> {
  const before = config.prefix.length + past;
  const { cos, sin } = ropeTables(config, tokens, before, layer);
  const window = isSliding(config, layer) ? config.sliding?.window : undefined;
  const shape = [tokens, config.headDim];
  return {
    cos: { data: cos, shape },
    sin: { data: sin, shape },
    mask: { data: causalMask(tokens, before, window), shape: [1, tokens, before + tokens] },
  };
}

/** `contextValues` of whole texts, computed once for each number of tokens and kind of layer. */
export function contextCache(
  config: DecoderConfig,
): (tokens: number, layer: number) => ReturnType<typeof contextValues> {
  const contexts = new Map<string, ReturnType<typeof contextValues>>();
  return (tokens, layer) => {
    const key = `${tokens} ${isSliding(config, layer)}`;
    let found = contexts.get(key);
    if (!found) contexts.set(key, (found = contextValues(config, tokens, 0, layer)));
    return found;
  };
}

/** Shapes of float32 values, as `trace` takes them. */
export function specsOf<const Given extends Values>(
  values: Given,
): { readonly [Name in keyof Given]: readonly number[] } {
  const shapes = Object.entries(values).map(([name, { shape }]) => [name, shape]);
  return Object.fromEntries(shapes) as { [Name in keyof Given]: readonly number[] };
}
