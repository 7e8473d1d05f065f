/**
 * AdamW with warm-up and a cosine, over a map of arrays. (Loshchilov and Hutter, "Decoupled weight decay regularization", algorithm 2.)
 */
import type { Parameters } from './model.ts';

export interface AdamwOptions {
  readonly rate: number;
  readonly warmUp: number;
  readonly steps: number;
  /** Of matrices only: norms are not pulled to zero. */
  readonly decay: number;
  readonly beta1?: number;
  readonly beta2?: number;
  /** Gradients longer than this, all together, are shortened to it. */
  readonly clip?: number;
}

export interface Adamw {
  /** Changes the parameters in place by one step; `scale` multiplies the gradients first. */
  step(parameters: Parameters, gradients: ReadonlyMap<string, Float32Array>, scale: number): void;
}

/** Linear up to `rate`, then half a cosine down to a twentieth of it. */
export function learningRate(step: number, { rate, warmUp, steps }: AdamwOptions): number {
  if (step < warmUp) return (rate * (step + 1)) / warmUp;
  const progress = (step - warmUp) / Math.max(1, steps - warmUp);
  return rate * (0.05 + 0.95 * 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
}

export function createAdamw(options: AdamwOptions): Adamw {
  const { beta1 = 0.9, beta2 = 0.98, clip = 1, decay } = options;
  const moments = new Map<string, { first: Float32Array; second: Float32Array }>();
  let steps = 0;
  return {
    step(parameters, gradients, scale) {
      let squares = 0;
      for (const gradient of gradients.values()) for (const g of gradient) squares += g * g;
      const factor = scale * Math.min(1, clip / (scale * Math.sqrt(squares) + 1e-12));
      const rate = learningRate(steps++, options);
      const [correction1, correction2] = [1 - beta1 ** steps, 1 - beta2 ** steps];
      for (const [name, { data, shape }] of parameters) {
        const gradient = gradients.get(name);
        if (!gradient) throw new Error(`Adamw.step: expected a gradient of '${name}', got none.`);
        const size = data.length;
        let state = moments.get(name);
        if (!state) moments.set(name, (state = { first: new Float32Array(size), second: new Float32Array(size) }));
        const { first, second } = state;
        const keep = shape.length > 1 ? 1 - rate * decay : 1;
        for (let i = 0; i < size; i++) {
          const g = (gradient[i] as number) * factor;
          const m = beta1 * (first[i] as number) + (1 - beta1) * g;
          const v = beta2 * (second[i] as number) + (1 - beta2) * g * g;
          first[i] = m;
          second[i] = v;
          data[i] = keep * (data[i] as number) - (rate * (m / correction1)) / (Math.sqrt(v / correction2) + 1e-8);
        }
      }
    },
  };
}
