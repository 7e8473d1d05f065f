/**
 * The quantized layer once more, as slowly and plainly as possible: loops over numbers in float64.
 *
 * Rounding is `u + residual`, with the residuals of one base point kept ever after; what a clamp did there it does ever after (a value
 * on the bound is inside). So the function is smooth, and its finite differences are the straight-through gradient. Zero points of
 * weights are constants.
 */
import type { DecoderConfig } from '@mobilequant/core';
import type { QuantizerSpec, Recipe, ResolveSite } from '@mobilequant/quantizer';

export type Numbers = Float64Array;
/** By name: weights, parameters, constants, and x. */
export type Given = Readonly<Record<string, Numbers>>;

export interface SlowOptions {
  readonly config: DecoderConfig;
  readonly conventions: Recipe['conventions'];
  readonly resolve: ResolveSite;
  readonly tokens: number;
  readonly cos: ArrayLike<number>;
  /** First half negated. */
  readonly sin: ArrayLike<number>;
}

/** What is fixed at the base point, in the order in which it is asked for. */
export class Frozen {
  readonly #kept: number[] = [];
  #at = 0;
  #recording = true;

  /** From now on what was kept is used again, from the start. */
  replay(): void {
    this.#recording = false;
    this.#at = 0;
  }

  #keep(value: () => number): number {
    if (this.#recording) this.#kept.push(value());
    return this.#kept[this.#at++] as number;
  }

  round(u: number): number {
    return u + this.#keep(() => halfToEven(u) - u);
  }

  clamp(v: number, low: number, high: number): number {
    const side = this.#keep(() => (v < low ? -1 : v > high ? 1 : 0));
    return side < 0 ? low : side > 0 ? high : v;
  }

  constant(value: number): number {
    return this.#keep(() => value);
  }
}

const halfToEven = (u: number): number => {
  const floor = Math.floor(u);
  if (u - floor !== 0.5) return Math.round(u);
  return floor % 2 === 0 ? floor : floor + 1;
};
const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));

/** 2/√π · exp(-v²) · Σ 2ⁿ v²ⁿ⁺¹ / (1 · 3 · … · (2n + 1)): terms of one sign. */
function erf(v: number): number {
  if (Math.abs(v) > 6) return Math.sign(v);
  let [sum, term] = [v, v];
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * v * v) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-v * v) * sum;
}

const gelu = (v: number): number => (v / 2) * (1 + erf(v / Math.SQRT2));
const geluTanh = (v: number): number => (v / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

/** The layer's output, `[tokens, hidden]`. */
export function slowBlock(
  given: Given,
  frozen: Frozen,
  { config, conventions, resolve, tokens, cos, sin }: SlowOptions,
): Numbers {
  const { hidden, ffn, heads, kvHeads, headDim, rotaryDim } = config;
  const exact = conventions === 'exact';
  const weights = transformed();

  function quantize(
    x: Numbers,
    scale: (i: number) => number,
    offset: (i: number) => number,
    bits: number,
    free: boolean,
  ): Numbers {
    const top = 2 ** bits - 1;
    return x.map((v, i) => {
      const z = free ? offset(i) : frozen.clamp(offset(i), 0, top);
      return (frozen.clamp(frozen.round(v / scale(i)) + z, 0, top) - z) * scale(i);
    });
  }

  function activation(site: string, x: Numbers): Numbers {
    const spec = resolve(site);
    if (!spec) return x;
    const number = (name: string): number | undefined => given[`${site}.${name}`]?.[0];
    let [scale, offset] = [number('scale'), number('offset')];
    if (scale === undefined || offset === undefined) {
      const [low, high, min, max] = ['low', 'high', 'min', 'max'].map(number) as [
        number | undefined,
        number,
        number,
        number,
      ];
      if (low === undefined) {
        scale = (Math.max(-min, max) * Math.exp(high)) / (2 ** (spec.bits - 1) - 1);
        offset = 2 ** (spec.bits - 1);
      } else {
        scale = (max * Math.exp(high) - min * Math.exp(low)) / (2 ** spec.bits - 1);
        offset = (-min * Math.exp(low)) / scale;
      }
    }
    const [s, z] = [scale, frozen.round(offset)];
    return quantize(
      x,
      () => s,
      () => z,
      spec.bits,
      false,
    );
  }

  function weight(site: string, w: Numbers, columns: number): Numbers {
    const spec = resolve(site);
    if (!spec) return w;
    const run =
      spec.granularity.kind === 'tensor'
        ? w.length
        : spec.granularity.kind === 'group'
          ? spec.granularity.size
          : columns;
    const grids = Array.from({ length: w.length / run }, (_, g) =>
      weightGrid(site, w.subarray(g * run, (g + 1) * run), g, spec),
    );
    const of = (i: number) => grids[Math.floor(i / run)] as (typeof grids)[0];
    return quantize(
      w,
      (i) => of(i).scale,
      (i) => of(i).offset,
      spec.bits,
      !exact && !spec.symmetric && spec.bits > 8,
    );
  }

  function weightGrid(
    site: string,
    values: Numbers,
    g: number,
    { bits, symmetric }: QuantizerSpec,
  ): { scale: number; offset: number } {
    const factor = (name: string): number => {
      const parameter = given[`${site}.${name}`]?.[g];
      return parameter === undefined ? 1 : sigmoid(parameter);
    };
    let max = factor('upper') * Math.max(...values);
    let min = factor('lower') * Math.min(...values);
    if (symmetric) {
      const alpha = exact
        ? factor('upper') * Math.max(...values.map(Math.abs))
        : Math.max(Math.abs(min), Math.abs(max));
      return { scale: alpha / (2 ** (bits - 1) - 1), offset: 2 ** (bits - 1) };
    }
    if (exact) [min, max] = [Math.min(min, 0), Math.max(max, 0)];
    const scale = (max - min) / (2 ** bits - 1);
    return { scale, offset: frozen.constant(-halfToEven(min / scale)) };
  }

  /** LET: rows of the first divided, columns of the second multiplied, and what shifts leave in biases. */
  function transformed(): Record<string, Numbers> {
    const result: Record<string, Numbers> = Object.fromEntries(
      Object.entries(given).filter(([name]) => /\.(weight|bias)$/.test(name)),
    );
    const scaleOf = (pair: string): Numbers | undefined =>
      exact ? given[`${pair}.scale`]?.map(Math.exp) : given[`${pair}.scale`];
    const divide = (module: string, scale: Numbers, shift: Numbers | undefined, keepBias = true): void => {
      const w = result[`${module}.weight`] as Numbers;
      const columns = w.length / scale.length;
      result[`${module}.weight`] = w.map((v, i) => v / (scale[Math.floor(i / columns)] as number));
      const bias = result[`${module}.bias`];
      if (bias || (shift && keepBias)) {
        result[`${module}.bias`] = scale.map((s, i) => ((bias?.[i] ?? 0) - (keepBias ? (shift?.[i] ?? 0) : 0)) / s);
      }
    };
    const multiply = (module: string, scale: Numbers, shift: Numbers | undefined): void => {
      const w = result[`${module}.weight`] as Numbers;
      const columns = scale.length;
      const bias = result[`${module}.bias`];
      if (shift) {
        result[`${module}.bias`] = Float64Array.from({ length: w.length / columns }, (_, row) =>
          shift.reduce((sum, z, i) => sum + z * (w[row * columns + i] as number), bias?.[row] ?? 0),
        );
      }
      result[`${module}.weight`] = w.map((v, i) => v * (scale[i % columns] as number));
    };
    const overHeads = (x: Numbers): Numbers =>
      Float64Array.from(
        { length: heads * headDim },
        (_, i) => x[Math.floor((Math.floor(i / headDim) * kvHeads) / heads) * headDim + (i % headDim)] as number,
      );

    const gates = config.mlp === 'gated' ? ['mlp.w1', 'mlp.w3'] : ['mlp.w1'];
    const behindInput = config.residual === 'parallel' ? gates : [];
    const pairs: [string, string, string[], (x: Numbers) => Numbers][] = [
      [
        'qkv',
        'input_layernorm',
        ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', ...behindInput],
        (x) => x,
      ],
      ['out', 'self_attn.v_proj', ['self_attn.o_proj'], overHeads],
      ['fc1', 'post_attention_layernorm', gates, (x) => x],
      ['fc2', 'mlp.w3', ['mlp.w2'], (x) => x],
    ];
    for (const [pair, first, others, spread] of pairs) {
      const scale = scaleOf(pair);
      const shift = given[`${pair}.shift`];
      if (!scale) continue;
      divide(first, scale, shift, exact || config.norm === 'layer' || !first.endsWith('layernorm'));
      for (const other of others) multiply(other, spread(scale), shift && spread(shift));
    }
    const qkt = scaleOf('qkt');
    if (qkt) {
      const [half, own] = [rotaryDim / 2, headDim - rotaryDim / 2];
      const shared = exact
        ? Float64Array.from({ length: (qkt.length / own) * headDim }, (_, i) => {
            const [head, c] = [Math.floor(i / headDim), i % headDim];
            return qkt[head * own + (c < rotaryDim ? c % half : c - half)] as number;
          })
        : qkt;
      const kind = config.queryKeyNorms ? 'norm' : 'proj';
      divide(`self_attn.q_${kind}`, exact && !config.queryKeyNorms ? overHeads(shared) : shared, undefined);
      divide(
        `self_attn.k_${kind}`,
        shared.map((s) => 1 / s),
        undefined,
      );
    }
    return result;
  }

  function linear(module: string, x: Numbers, inputs: number, outputs: number): Numbers {
    const input = activation(`${module}.input`, x);
    const w = weight(`${module}.weight`, weights[`${module}.weight`] as Numbers, inputs);
    const bias = weights[`${module}.bias`];
    const y = new Float64Array(tokens * outputs);
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < outputs; o++) {
        let sum = bias?.[o] ?? 0;
        for (let i = 0; i < inputs; i++) sum += (input[t * inputs + i] as number) * (w[o * inputs + i] as number);
        y[t * outputs + o] = sum;
      }
    }
    return activation(`${module}.output`, y);
  }

  /** Each row of `channels` numbers over its length (LayerNorm: over its standard deviation, from its mean). */
  function norm(module: string, x: Numbers, channels = hidden): Numbers {
    const input = activation(`${module}.input`, x);
    const w = weight(`${module}.weight`, weights[`${module}.weight`] as Numbers, channels);
    const bias = weights[`${module}.bias`];
    const y = new Float64Array(input.length);
    for (let start = 0; start < input.length; start += channels) {
      const row = input.subarray(start, start + channels);
      const mean = config.norm === 'layer' ? row.reduce((sum, v) => sum + v, 0) / channels : 0;
      const square = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / channels;
      const size = Math.sqrt(square + (config.norm === 'layer' ? config.normEpsilon : 0));
      row.forEach((v, i) => {
        y[start + i] = ((v - mean) / size) * (w[i] as number) + (bias?.[i] ?? 0);
      });
    }
    return activation(`${module}.output`, y);
  }

  /** `[tokens, count * headDim]` → `[count, tokens, headDim]` */
  function split(x: Numbers, count: number): Numbers {
    return x.map((_, i) => {
      const [head, t, c] = [Math.floor(i / tokens / headDim), Math.floor(i / headDim) % tokens, i % headDim];
      return x[(t * count + head) * headDim + c] as number;
    });
  }

  function rotate(x: Numbers): Numbers {
    return x.map((v, i) => {
      const [t, c] = [Math.floor(i / headDim) % tokens, i % headDim];
      if (c >= rotaryDim) return v;
      const other = x[i - c + ((c + rotaryDim / 2) % rotaryDim)] as number;
      return v * (cos[t * headDim + c] as number) + other * (sin[t * headDim + c] as number);
    });
  }

  function attention(x: Numbers): Numbers {
    const placed = (name: 'q' | 'k', count: number): Numbers => {
      const y = linear(`self_attn.${name}_proj`, x, hidden, count * headDim);
      return rotate(split(config.queryKeyNorms ? norm(`self_attn.${name}_norm`, y, headDim) : y, count));
    };
    const queries = activation('self_attn.qk_bmm.input', placed('q', heads));
    const keys = activation('self_attn.qk_bmm.input2', placed('k', kvHeads));
    const values = activation(
      'self_attn.pv_bmm.input2',
      split(linear('self_attn.v_proj', x, hidden, kvHeads * headDim), kvHeads),
    );
    const keyHead = (head: number): number => Math.floor((head * kvHeads) / heads);
    const scores = new Float64Array(heads * tokens * tokens).map((_, i) => {
      const [head, t, s] = [Math.floor(i / tokens / tokens), Math.floor(i / tokens) % tokens, i % tokens];
      let sum = 0;
      for (let c = 0; c < headDim; c++) {
        sum +=
          (queries[(head * tokens + t) * headDim + c] as number) *
          (keys[(keyHead(head) * tokens + s) * headDim + c] as number);
      }
      return sum;
    });
    const quantized = activation('self_attn.qk_bmm.output', scores);
    const { scoreFactor, scoreCap, sliding } = config;
    const capped = (v: number): number => (scoreCap === undefined ? v : scoreCap * Math.tanh(v / scoreCap));
    const window = sliding?.layers[0] ? sliding.window : tokens;
    const probabilities = new Float64Array(quantized.length);
    for (let row = 0; row < heads * tokens; row++) {
      const t = row % tokens;
      const [from, to] = [row * tokens + Math.max(0, t + 1 - window), row * tokens + t + 1];
      const exponentials = quantized.slice(from, to).map((v) => Math.exp(capped(scoreFactor * v)));
      const total = exponentials.reduce((a, b) => a + b, 0);
      probabilities.set(
        exponentials.map((e) => e / total),
        from,
      );
    }
    const p = activation('self_attn.pv_bmm.input', probabilities);
    const mixed = new Float64Array(tokens * heads * headDim).map((_, i) => {
      const [t, head, c] = [Math.floor(i / heads / headDim), Math.floor(i / headDim) % heads, i % headDim];
      let sum = 0;
      for (let s = 0; s < tokens; s++)
        sum +=
          (p[(head * tokens + t) * tokens + s] as number) *
          (values[(keyHead(head) * tokens + s) * headDim + c] as number);
      return sum;
    });
    return linear('self_attn.o_proj', activation('self_attn.pv_bmm.output', mixed), heads * headDim, hidden);
  }

  function activated(gate: Numbers): Numbers {
    if (config.activation !== 'silu') return gate.map(config.activation === 'gelu' ? gelu : geluTanh);
    const open = activation('mlp.act_fn.input2', gate.map(sigmoid));
    return gate.map((g, i) => g * (open[i] as number));
  }

  function feedForward(x: Numbers): Numbers {
    const gate = activation('mlp.act_fn.input', linear('mlp.w1', x, hidden, ffn));
    const up = config.mlp === 'gated' ? linear('mlp.w3', x, hidden, ffn) : undefined;
    const through = activation('mlp.act_fn.output', activated(gate));
    const y = up ? through.map((a, i) => a * (up[i] as number)) : through;
    return linear('mlp.w2', y, ffn, hidden);
  }

  const x = given['x'] as Numbers;
  const output = (module: string, y: Numbers): Numbers => (config.outputNorms ? norm(module, y) : y);
  const normed = norm('input_layernorm', x);
  const attended = output('attention_output_layernorm', attention(normed));
  const middle = x.map((v, i) => v + (attended[i] as number));
  const fed = feedForward(config.residual === 'parallel' ? normed : norm('post_attention_layernorm', middle));
  const added = output('mlp_output_layernorm', fed);
  return middle.map((v, i) => v + (added[i] as number));
}
