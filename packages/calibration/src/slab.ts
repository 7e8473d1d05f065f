import type { Value } from '@mobilequant/tracer';

/**
 * What all samples have somewhere, in one piece of memory: thousands of small ones, made anew for each layer, would leave holes that do not go
 * back to the system.
 */
export interface Slab {
  /** Copies a sample's values to its place: `[tokens, channels]`, as it is until something else is put there. */
  put(sample: number, values: Float32Array): Value;
}

export function slab(samples: readonly Int32Array[], channels: number): Slab {
  const starts = [0];
  for (const { length } of samples) starts.push((starts.at(-1) as number) + length * channels);
  const all = new Float32Array(starts.at(-1) as number);
  return {
    put(sample, values) {
      const data = all.subarray(starts[sample], starts[sample + 1]);
      data.set(values);
      return { data, shape: [(samples[sample] as Int32Array).length, channels] };
    },
  };
}
