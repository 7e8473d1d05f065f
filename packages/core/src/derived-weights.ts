/**
 * Weights some of whose tensors are computed when they are read: each by itself, from tensors of another model.
 */
import type { Weights } from './weights.ts';

/** A tensor that is computed. */
export interface DerivedTensor {
  readonly shape: readonly number[];
  read(): Promise<Float32Array>;
  /** Some rows of it; only of tensors that rows are read of. */
  readRows?(rows: ArrayLike<number>): Promise<Float32Array>;
}

/**
 * @param derived by name, in place of tensors of `weights` or beside them.
 * @param removed names that are there no more.
 */
export function deriveWeights(
  weights: Weights,
  derived: ReadonlyMap<string, DerivedTensor>,
  removed: ReadonlySet<string> = new Set(),
): Weights {
  const names = [...new Set([...weights.names(), ...derived.keys()])].filter((name) => !removed.has(name));
  const all = new Set(names);
  const source = (name: string): Weights => {
    if (removed.has(name)) throw new Error(`weights: expected a tensor named '${name}', got none.`);
    return weights;
  };
  return {
    names: () => names,
    has: (name) => all.has(name),
    shape: (name) => derived.get(name)?.shape ?? source(name).shape(name),
    read: async (name) => derived.get(name)?.read() ?? source(name).read(name),
    async readRows(name, rows) {
      const own = derived.get(name);
      if (!own) return source(name).readRows(name, rows);
      if (!own.readRows) throw new Error(`weights: expected a tensor whose rows can be read, got '${name}'.`);
      return own.readRows(rows);
    },
  };
}
