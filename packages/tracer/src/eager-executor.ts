/**
 * Runs traced functions without tracing them, on tfjs's current backend: slower, and the oracle that traces are checked against.
 */
import * as tf from '@tensorflow/tfjs';
import { FeedError } from './errors.ts';
import type { Executor, TensorData, Value } from './runtime.ts';

/** An executor on whatever backend tfjs has when a program runs. */
export function eagerExecutor(): Executor {
  return {
    program: async (fn, specs) => ({
      inputs: Object.keys(specs),
      outputs: [],
      async run(feeds) {
        const results = tf.tidy(() => {
          const inputs = Object.keys(specs).map((name) => {
            const value = feeds[name];
            if (!value) throw new FeedError(`Program.run: expected a value for input '${name}', got none.`);
            return [name, tf.tensor(value.data as Float32Array, [...value.shape])] as const;
          });
          return fn(Object.fromEntries(inputs));
        });
        const values = Object.entries(results).map(async ([name, tensor]): Promise<[string, Value]> => {
          const data = (await tensor.data()) as TensorData;
          return [name, { data, shape: tensor.shape }];
        });
        const read = Object.fromEntries(await Promise.all(values));
        tf.dispose(results);
        return read;
      },
      release: async () => {},
    }),
  };
}
