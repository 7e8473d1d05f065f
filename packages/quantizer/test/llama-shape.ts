import type { DecoderShape } from '../src/sites.ts';

/** A llama, as far as its sites go. */
export const llamaShape = (layers: number): DecoderShape => ({
  layers,
  mlp: 'gated',
  activation: 'silu',
  residual: 'sequential',
  outputNorms: false,
  queryKeyNorms: false,
});
