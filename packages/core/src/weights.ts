/**
 * Where a decoder's tensors come from: read by name, when they are needed, never all at once.
 * Names are the unified ones: `model.embed_tokens.weight`, `model.layers.N.self_attn.q_proj.weight`,
 * `model.layers.N.mlp.w1.weight` (gate), `w3` (up), `w2` (down), `model.norm.weight`, `lm_head.weight`.
 */
export interface Weights {
  /** All names. */
  names(): readonly string[];
  has(name: string): boolean;
  /** Throws for a name that is not there. Linear weights are `[out, in]`. */
  shape(name: string): readonly number[];
  /** The whole tensor in float32, row-major. */
  read(name: string): Promise<Float32Array>;
  /** Some rows of a matrix `[rows, columns]`, one after another (an embedding look-up). */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}
