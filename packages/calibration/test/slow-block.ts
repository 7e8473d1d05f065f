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

/** The layer's output, `[tokens, hidden]`. */
export function slowBlock(
  given: Given,
  frozen: Frozen,
  { config, conventions, resolve, tokens, cos, sin }: SlowOptions,
): Numbers {
  const { hidden, ffn, heads, kvHeads, headDim } = config;
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

    const pairs: [string, string, string[], (x: Numbers) => Numbers][] = [
      ['qkv', 'input_layernorm', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'], (x) => x],
      ['out', 'self_attn.v_proj', ['self_attn.o_proj'], overHeads],
      ['fc1', 'post_attention_layernorm', ['mlp.w1', 'mlp.w3'], (x) => x],
      ['fc2', 'mlp.w3', ['mlp.w2'], (x) => x],
    ];
    for (const [pair, first, others, spread] of pairs) {
      const scale = scaleOf(pair);
      const shift = given[`${pair}.shift`];
      if (!scale) continue;
      divide(first, scale, shift, exact || !first.endsWith('layernorm'));
      for (const other of others) multiply(other, spread(scale), shift && spread(shift));
    }
    const qkt = scaleOf('qkt');
    if (qkt) {
      const perPair = qkt.length === (kvHeads * headDim) / 2;
      const keys = perPair
        ? Float64Array.from(
            { length: kvHeads * headDim },
            (_, i) => qkt[Math.floor(i / headDim) * (headDim / 2) + (i % (headDim / 2))] as number,
          )
        : qkt;
      divide('self_attn.q_proj', perPair ? overHeads(keys) : keys, undefined);
      divide(
        'self_attn.k_proj',
        keys.map((s) => 1 / s),
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

  function norm(module: string, x: Numbers): Numbers {
    const input = activation(`${module}.input`, x);
    const w = weight(`${module}.weight`, weights[`${module}.weight`] as Numbers, hidden);
    const bias = weights[`${module}.bias`];
    const lengths = Array.from({ length: tokens }, (_, t) =>
      Math.sqrt(input.subarray(t * hidden, (t + 1) * hidden).reduce((sum, v) => sum + v * v, 0)),
    );
    const y = input.map(
      (v, i) =>
        (Math.sqrt(hidden) * v * (w[i % hidden] as number)) / (lengths[Math.floor(i / hidden)] as number) +
        (bias?.[i % hidden] ?? 0),
    );
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
      const other = x[i - c + ((c + headDim / 2) % headDim)] as number;
      return v * (cos[t * headDim + c] as number) + other * (sin[t * headDim + c] as number);
    });
  }

  function attention(x: Numbers): Numbers {
    const queries = activation(
      'self_attn.qk_bmm.input',
      rotate(split(linear('self_attn.q_proj', x, hidden, heads * headDim), heads)),
    );
    const keys = activation(
      'self_attn.qk_bmm.input2',
      rotate(split(linear('self_attn.k_proj', x, hidden, kvHeads * headDim), kvHeads)),
    );
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
    const probabilities = new Float64Array(quantized.length);
    for (let row = 0; row < heads * tokens; row++) {
      const seen = (row % tokens) + 1;
      const exponentials = Array.from(quantized.subarray(row * tokens, row * tokens + seen), (v) =>
        Math.exp(v / Math.sqrt(headDim)),
      );
      const total = exponentials.reduce((a, b) => a + b, 0);
      exponentials.forEach((e, s) => {
        probabilities[row * tokens + s] = e / total;
      });
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

  function feedForward(x: Numbers): Numbers {
    const gate = activation('mlp.act_fn.input', linear('mlp.w1', x, hidden, ffn));
    const up = linear('mlp.w3', x, hidden, ffn);
    const open = activation('mlp.act_fn.input2', gate.map(sigmoid));
    const activated = activation(
      'mlp.act_fn.output',
      gate.map((g, i) => g * (open[i] as number)),
    );
    return linear(
      'mlp.w2',
      activated.map((a, i) => a * (up[i] as number)),
      ffn,
      hidden,
    );
  }

  const x = given['x'] as Numbers;
  const attended = attention(norm('input_layernorm', x));
  const middle = x.map((v, i) => v + (attended[i] as number));
  const fed = feedForward(norm('post_attention_layernorm', middle));
  return middle.map((v, i) => v + (fed[i] as number));
}
