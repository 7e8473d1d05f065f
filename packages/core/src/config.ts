/**
 * The decoder's switches. Differences between architectures are values here, never branches on a name; `parse-config.ts` reads
 * them from a checkpoint's `config.json`.
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

/**
 * How a norm is computed. `layer` is LayerNorm, mean and all. The others are root-mean-square norms: `epsilon` is the checkpoint's
 * `x * rsqrt(mean(x²) + ε)`; `l2` is `sqrt(channels) * x / max(‖x‖, 1e-12)`, the form an NPU has; `l2-folded` is `l2` with
 * sqrt(channels) already in the weight.
 */
export type NormForm = 'epsilon' | 'l2' | 'l2-folded' | 'layer';

/** Layers that look back a limited number of tokens. */
export interface SlidingAttention {
  /** A token sees this many: itself and those before it. */
  readonly window: number;
  /** Which layers do so, `[layers]`; the others see everything before. */
  readonly layers: readonly boolean[];
  /** Their rotary embedding, where it is another one. */
  readonly rope?: RopeConfig;
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

  /** What token embeddings are multiplied by: 1, or gemma's sqrt(hidden). */
  readonly embeddingFactor: number;
  readonly tiedEmbeddings: boolean;

  /** The norms of the layers. */
  readonly norm: NormForm;
  /** The norm before the head. */
  readonly finalNorm: NormForm;
  readonly normEpsilon: number;
  /** Norms behind attention and MLP too, before their outputs join the residual stream. */
  readonly outputNorms: boolean;
  /** Each head's queries and keys are normed before the rotary embedding. */
  readonly queryKeyNorms: boolean;
  /** `parallel`: one norm feeds attention and MLP, and both outputs are added to what came in. */
  readonly residual: 'sequential' | 'parallel';

  readonly rope: RopeConfig;
  /** Channels of a head that turn, the first ones; the rest pass through. */
  readonly rotaryDim: number;
  readonly sliding?: SlidingAttention;
  /** Scores are `scoreFactor * q · kᵀ`, usually 1/sqrt(headDim). */
  readonly scoreFactor: number;
  /** `folded`: the factor is already in what makes the queries. */
  readonly scoreScale: 'explicit' | 'folded';
  /** Scores become `cap * tanh(scores / cap)`. */
  readonly scoreCap?: number;
  /** The same for logits. */
  readonly logitCap?: number;

  /** `gated`: w2 · (act(w1 · x) * (w3 · x)); `plain`: w2 · act(w1 · x). */
  readonly mlp: 'gated' | 'plain';
  /** `gelu-tanh` is the approximation by a hyperbolic tangent. */
  readonly activation: 'silu' | 'gelu' | 'gelu-tanh';

  /**
   * Ids of tokens that stand before every text: their keys and values are computed once and lie in the weights
   * (`self_attn.prefix_keys`, `.prefix_values`), the first entries of every cache.
   */
  readonly prefix: readonly number[];

  /** Modules that must have a bias (`self_attn.q_proj`, `lm_head`, …); any other may. */
  readonly biases: readonly string[];
}

/** What every decoder has to say of itself; the rest has defaults. */
export type DecoderSizes = Pick<DecoderConfig, 'layers' | 'hidden' | 'ffn' | 'heads' | 'vocab'>;

/**
 * A config from sizes and what differs from a llama.
 *
 * @example
 * decoderConfig({ layers: 2, hidden: 64, ffn: 96, heads: 4, kvHeads: 1, vocab: 128, activation: 'gelu-tanh' });
 */
export function decoderConfig(given: DecoderSizes & Partial<DecoderConfig>): DecoderConfig {
  const { hidden, heads, headDim = hidden / heads } = given;
  return {
    kvHeads: heads,
    headDim,
    maxPositions: 2048,
    embeddingFactor: 1,
    tiedEmbeddings: false,
    norm: 'epsilon',
    finalNorm: 'epsilon',
    normEpsilon: 1e-6,
    outputNorms: false,
    queryKeyNorms: false,
    residual: 'sequential',
    rope: { theta: 10000 },
    rotaryDim: headDim,
    scoreFactor: 1 / Math.sqrt(headDim),
    scoreScale: 'explicit',
    mlp: 'gated',
    activation: 'silu',
    prefix: [],
    biases: [],
    ...given,
  };
}

/** Whether a layer looks back a limited number of tokens only. */
export const isSliding = ({ sliding }: Pick<DecoderConfig, 'sliding'>, layer: number): boolean =>
  sliding?.layers[layer] === true;

/** A model configuration that is malformed, or that says something this decoder does not compute. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  /** The key of config.json. */
  readonly key: string;
  readonly expected: string;
  readonly received: unknown;

  constructor(key: string, expected: string, received: unknown, advice = '') {
    super(`config.json: expected ${key} to be ${expected}, got ${JSON.stringify(received)}.${advice && ` ${advice}`}`);
    this.key = key;
    this.expected = expected;
    this.received = received;
  }
}
