/**
 * The decoder's switches. Differences between architectures are values here, never branches on a name.
 */

/** Frequencies of the rotary embedding; `scaling` as in Hugging Face's `rope_scaling`. */
export interface RopeConfig {
  readonly theta: number;
  readonly scaling?:
    | { readonly kind: 'linear'; readonly factor: number }
    | {
        readonly kind: 'llama3';
        readonly factor: number;
        readonly lowFrequencyFactor: number;
        readonly highFrequencyFactor: number;
        readonly originalMaxPositions: number;
      };
}

export interface DecoderConfig {
  readonly layers: number;
  readonly hidden: number;
  readonly ffn: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocab: number;
  readonly maxPositions: number;
  readonly normEpsilon: number;
  /**
   * How the norms of the layers are computed: `epsilon` is the checkpoint's `x * rsqrt(mean(x²) + ε)`; `l2` is
   * `sqrt(hidden) * x / max(‖x‖, 1e-12)`, the form an NPU has; `l2-folded` is `l2` with sqrt(hidden) already in the weight.
   */
  readonly norm: 'epsilon' | 'l2' | 'l2-folded';
  /** The same for the norm before the head. */
  readonly finalNorm: 'epsilon' | 'l2' | 'l2-folded';
  /** `folded`: 1/sqrt(headDim) is already in the query projection. */
  readonly scoreScale: 'explicit' | 'folded';
  readonly activation: 'silu';
  readonly rope: RopeConfig;
  readonly tiedEmbeddings: boolean;
}
