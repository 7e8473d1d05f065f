/**
 * AdamW over trees of plain arrays: a pair of pure-looking functions, `init` and `update`, the second in place
 * because the state is as large as the parameters.
 *
 *     m = β₁ m + (1 - β₁) g      v = β₂ v + (1 - β₂) g²
 *     p = p - lr λ p - lr m̂ / (√v̂ + ε)
 */

export type Tree = Readonly<Record<string, Float32Array>>;

export interface AdamWState {
  readonly first: Tree;
  readonly second: Tree;
  /** Updates done so far. */
  step: number;
}

export interface AdamWOptions {
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
}

export interface AdamW {
  init(parameters: Tree): AdamWState;
  /** Moves the parameters in place. `learningRate` may differ by parameter: that is what parameter groups are. */
  update(parameters: Tree, gradients: Tree, state: AdamWState, learningRate: (name: string) => number): void;
}

const zerosLike = (tree: Tree): Tree =>
  Object.fromEntries(Object.entries(tree).map(([name, p]) => [name, new Float32Array(p.length)]));

/** Defaults are the reference's: β 0.9 / 0.999, ε 1e-8, no weight decay. */
export function adamW({ beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0 }: AdamWOptions = {}): AdamW {
  return {
    init: (parameters) => ({ first: zerosLike(parameters), second: zerosLike(parameters), step: 0 }),
    update(parameters, gradients, state, learningRate) {
      state.step++;
      const correction1 = 1 - beta1 ** state.step;
      const correction2 = Math.sqrt(1 - beta2 ** state.step);
      for (const [name, parameter] of Object.entries(parameters)) {
        const gradient = gradients[name];
        const first = state.first[name] as Float32Array;
        const second = state.second[name] as Float32Array;
        if (!gradient) continue;
        const rate = learningRate(name);
        for (let i = 0; i < parameter.length; i++) {
          const g = gradient[i] as number;
          first[i] = beta1 * (first[i] as number) + (1 - beta1) * g;
          second[i] = beta2 * (second[i] as number) + (1 - beta2) * g * g;
          const step = (first[i] as number) / correction1 / (Math.sqrt(second[i] as number) / correction2 + epsilon);
          parameter[i] = (parameter[i] as number) * (1 - rate * weightDecay) - rate * step;
        }
      }
    },
  };
}
