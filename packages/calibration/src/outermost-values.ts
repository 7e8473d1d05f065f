/**
 * The outermost values of a site's channels. Multiplying a channel by something positive keeps the order of its values, so they give the
 * range of every scaled version of the site without another look at the text, min-max or with a share of the values cut off.
 */
import type { Range } from '@mobilequant/quantizer';
import type { Value } from '@mobilequant/tracer';

/** Keeps the `depth` largest and smallest values of each channel of what it has seen. */
export class OutermostValues {
  /** 1 where all values are taken as one. */
  readonly channels: number;
  readonly #depth: number;
  /** `[channels, depth]`, falling. */
  readonly #high: Float32Array;
  /** The same of the negated values. */
  readonly #low: Float32Array;
  #count = 0;

  /** @param channels of a site; 1 takes all its values as one. @param depth how many are kept on each side; what is cut off must be fewer. */
  constructor(channels: number, depth: number) {
    this.channels = channels;
    this.#depth = depth;
    this.#high = new Float32Array(channels * depth).fill(-Infinity);
    this.#low = this.#high.slice();
  }

  /** @param value `[tokens, channels]`, or `[heads, tokens, headDim]`, whose channels are those of all heads. */
  add({ data, shape }: Value): void {
    const heads = this.channels === 1 || shape.length < 3 ? 1 : (shape[0] as number);
    const columns = this.channels / heads;
    const [depth, high, low] = [this.#depth, this.#high, this.#low];
    const size = data.length / heads;
    for (let head = 0, i = 0; head < heads; head++) {
      const first = head * columns;
      for (const end = (head + 1) * size; i < end; ) {
        for (let at = first * depth; at < (first + columns) * depth; at += depth, i++) {
          const x = data[i] as number;
          const last = at + depth - 1;
          if (x > (high[last] as number)) insert(high, at, last, x);
          if (-x > (low[last] as number)) insert(low, at, last, -x);
        }
      }
    }
    this.#count += data.length;
  }

  /** The largest |x| of each channel. */
  absMax(): Float32Array {
    return Float32Array.from({ length: this.channels }, (_, j) =>
      Math.max(this.#high[j * this.#depth] as number, this.#low[j * this.#depth] as number),
    );
  }

  /**
   * The range without the outermost values on each side.
   *
   * @param coverage the share of the values that each end of the range covers; 1 is min-max.
   * @param factors what each channel is multiplied by, all positive.
   */
  range(coverage: number, factors?: Float32Array): Range {
    const cut = Math.min(Math.floor((1 - coverage) * this.#count), this.#depth - 1);
    return { min: -this.#end(this.#low, cut, factors), max: this.#end(this.#high, cut, factors) };
  }

  /** The value behind the `cut` largest. */
  #end(values: Float32Array, cut: number, factors: Float32Array | undefined): number {
    const largest = new Float32Array(cut + 1).fill(-Infinity);
    for (let j = 0; j < this.channels; j++) {
      const factor = factors ? (factors[j] as number) : 1;
      for (let at = j * this.#depth, end = at + cut; at <= end; at++) {
        const x = factor * (values[at] as number);
        if (!(x > (largest[cut] as number))) break;
        insert(largest, 0, cut, x);
      }
    }
    return largest[cut] as number;
  }
}

/** Puts x into its place among the falling values `first … last`, the last of which drops out. */
function insert(values: Float32Array, first: number, last: number, x: number): void {
  let at = last;
  for (; at > first && x > (values[at - 1] as number); at--) values[at] = values[at - 1] as number;
  values[at] = x;
}
