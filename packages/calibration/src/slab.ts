import type { Value } from '@mobilequant/tracer';

/** What all samples have somewhere, in one piece of memory: thousands of small ones, made anew for each layer, would leave it in shreds. */
export interface Slab {
  /** `[tokens, channels]`, as it is until something else is put there. */
  at(sample: number): Value & { readonly data: Float32Array };
  put(sample: number, values: Float32Array): void;
}

export function slab(samples: readonly Int32Array[], channels: number): Slab {
  const starts = [0];
  for (const { length } of samples) starts.push((starts.at(-1) as number) + length * channels);
  const all = new Float32Array(starts.at(-1) as number);
  const part = (sample: number): Float32Array => all.subarray(starts[sample], starts[sample + 1]);
  return {
    at: (sample) => ({ data: part(sample), shape: [(samples[sample] as Int32Array).length, channels] }),
    put: (sample, values) => part(sample).set(values),
  };
}
