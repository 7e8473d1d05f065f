import type * as tf from '@tensorflow/tfjs';
import { expectTypeOf, test } from 'vitest';
import type { Executor, Value } from './runtime.ts';
import { trace } from './trace.ts';

declare const executor: Executor;
declare const more: Readonly<Record<string, readonly number[]>>;

test('inputs that the specs name are tensors; others may be missing', () => {
  trace(
    (inputs) => {
      expectTypeOf(inputs.x).toEqualTypeOf<tf.Tensor>();
      expectTypeOf(inputs['other']).toEqualTypeOf<tf.Tensor | undefined>();
      return { y: inputs.x };
    },
    { x: [3], ids: { shape: [2], dtype: 'int32' }, ...more },
  );
});

test('results that the function returns are values; others may be missing', async () => {
  const program = await executor.program(({ x }) => ({ y: x }), { x: [3] });
  const results = await program.run({});
  expectTypeOf(results.y).toEqualTypeOf<Value>();
  expectTypeOf(results['other']).toEqualTypeOf<Value | undefined>();
});
