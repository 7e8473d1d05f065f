/**
 * How much tokens count at a linear that adds to the residual stream. What is behind it sees the stream through norms, so that an error is as large
 * as it is beside the stream. Some tokens have a stream many times as large as others, for a few layers or for most: with errors as they are,
 * these few would have the most to say in every linear that adds to it there.
 */
import type { DecoderConfig } from '@mobilequant/core';
import type { Value } from '@mobilequant/tracer';
import { LAYER_END } from './hidden-stream.ts';

/** The stream that a linear adds to, by site. */
export interface StreamOfLinear {
  /** What its output is added to, where it alone can make up for errors there. */
  readonly before?: string;
  /** Where the sum is seen. */
  readonly behind: string;
}

/**
 * None for a linear that adds to no stream, or whose output a norm changes before it does. Where attention and MLP are added side by side,
 * the MLP is to make up for nothing in it: what attention takes back it would take back again.
 */
export function streamOf(module: string, { residual, outputNorms }: DecoderConfig): StreamOfLinear | undefined {
  if (outputNorms) return undefined;
  const between = 'post_attention_layernorm.input';
  const parallel = residual === 'parallel';
  if (module === 'self_attn.o_proj') return { before: 'input_layernorm.input', behind: parallel ? LAYER_END : between };
  if (module === 'mlp.w2') return { ...(!parallel && { before: between }), behind: LAYER_END };
  return undefined;
}

/** The inverse of each token's mean square, as RMSNorm takes it: `[tokens, hidden]` → `[tokens, 1]`. */
export function countsBeside({ data, shape }: Value, epsilon: number): Value {
  const [tokens, width] = shape as [number, number];
  const counts = Float32Array.from({ length: tokens }, (_, token) => {
    let sum = 0;
    for (let i = token * width; i < (token + 1) * width; i++) sum += (data[i] as number) ** 2;
    return 1 / (sum / width + epsilon);
  });
  return { data: counts, shape: [tokens, 1] };
}
