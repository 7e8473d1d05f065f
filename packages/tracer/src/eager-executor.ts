/**
 * Runs traced functions without tracing them, on tfjs's current backend: slower, and the oracle that traces are checked against.
 */
import * as tf from '@tensorflow/tfjs';
import { FeedError } from './errors.ts';
import type { Executor, Results, TensorData, Value } from './runtime.ts';
import { type InputSpec, type InputSpecs, inputSpec, type Traceable, type TracedInputs } from './trace.ts';

/** An executor on whatever backend tfjs has when a program runs. Its programs list no outputs: it takes a run to know them. */
export function eagerExecutor(): Executor {
  return {
    program: async <Specs extends InputSpecs, Output extends string>(fn: Traceable<Specs, Output>, specs: Specs) => ({
      inputs: Object.keys(specs).filter((name) => !inputSpec(specs[name] as InputSpec).values),
      outputs: [],
      async run(feeds) {
        const results = tf.tidy(() => {
          const inputs = Object.entries(specs).map(([name, spec]) => {
            const { shape, dtype, values } = inputSpec(spec);
            const value = values ? { data: values, shape } : feeds[name];
            if (!value) throw new FeedError(`Program.run: expected a value for input '${name}', got none.`);
            return [name, tf.tensor(value.data as Float32Array, [...value.shape], dtype)] as const;
          });
          return fn(Object.fromEntries(inputs) as TracedInputs<Specs>);
        });
        const values = Object.entries<tf.Tensor>(results).map(async ([name, tensor]): Promise<[string, Value]> => {
          const data = (await tensor.data()) as TensorData;
          return [name, { data, shape: tensor.shape }];
        });
        const read = Object.fromEntries(await Promise.all(values));
        tf.dispose(results);
        return read as Results<Output>;
      },
      release: async () => {},
    }),
  };
}
