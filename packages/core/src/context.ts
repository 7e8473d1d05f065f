/**
 * What a block is given beside its weights: values that depend on positions alone, the same for every layer.
 */
import type { Value, Values } from '@mobilequant/tracer';
import type { DecoderConfig } from './config.ts';
import { ropeTables } from './rope.ts';

/** What a masked score gets: float32's lowest, so that no probability is left. */
export const MASKED: number = -3.4028234663852886e38;

/** Attention to itself and what came before, `[1, tokens, past + tokens]`. */
export function causalMask(tokens: number, past = 0): Float32Array {
  const width = past + tokens;
  return Float32Array.from({ length: tokens * width }, (_, i) =>
    i % width > past + Math.floor(i / width) ? MASKED : 0,
  );
}

/** Rotary tables and mask of `tokens` positions behind `past` others: a `BlockContext` as values. */
export function contextValues(config: DecoderConfig, tokens: number, past = 0): Record<'cos' | 'sin' | 'mask', Value> {
  const { cos, sin } = ropeTables(config, tokens, past);
  const shape = [tokens, config.headDim];
  return {
    cos: { data: cos, shape },
    sin: { data: sin, shape },
    mask: { data: causalMask(tokens, past), shape: [1, tokens, past + tokens] },
  };
}

/** `contextValues` of whole texts, computed once for each number of tokens. */
export function contextCache(config: DecoderConfig): (tokens: number) => ReturnType<typeof contextValues> {
  const contexts = new Map<number, ReturnType<typeof contextValues>>();
  return (tokens) => {
    let found = contexts.get(tokens);
    if (!found) contexts.set(tokens, (found = contextValues(config, tokens)));
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
