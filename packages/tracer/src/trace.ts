/**
 * `trace` turns a function written in tfjs operations into an ONNX graph.
 *
 * The function runs once, on tensors without values, on a backend whose kernels write nodes. What `tf.grads`
 * derives inside it is recorded too. tfjs's engine is global, so a trace is synchronous from end to end.
 */

import { type Graph, prune } from '@mobilequant/graph';
import * as tf from '@tensorflow/tfjs';
import { BACKEND, backend, explain, restoreBackend } from './backend.ts';
import { TraceError } from './errors.ts';
import './kernels/elementwise.ts';
import './kernels/products.ts';
import './kernels/reductions.ts';
import './kernels/shapes.ts';
import { type Operand, Recorder } from './recorder.ts';

/** A named input of a traced function; with `values` it is a named initializer (a weight of an exported model). */
export interface InputSpec {
  readonly shape: readonly number[];
  readonly dtype?: 'float32' | 'int32' | 'bool';
  readonly values?: Float32Array | Int32Array | Uint8Array;
}

/** Shape alone stands for float32. */
export type InputSpecs = Readonly<Record<string, readonly number[] | InputSpec>>;

/** What a traced function is given: a tensor for each name of its specs, and for other names perhaps one. */
export type TracedInputs<Specs extends InputSpecs = InputSpecs> = {
  readonly [Name in keyof Specs]: tf.Tensor;
} & Readonly<Record<string, tf.Tensor>>;

/** A function of named tensors that has named results. */
export type Traceable<Specs extends InputSpecs = InputSpecs, Output extends string = string> = (
  inputs: TracedInputs<Specs>,
) => Readonly<Record<Output, tf.Tensor>>;

export interface TraceOptions {
  readonly name?: string;
  /** Drop inputs that no output depends on. */
  readonly dropUnusedInputs?: boolean;
}

/** A spec with its defaults. */
export function inputSpec(spec: readonly number[] | InputSpec): InputSpec & Required<Pick<InputSpec, 'dtype'>> {
  const isShape = (given: typeof spec): given is readonly number[] => Array.isArray(given);
  return isShape(spec) ? { shape: spec, dtype: 'float32' } : { dtype: 'float32', ...spec };
}

/**
 * Records `fn` as a graph whose inputs and outputs have the names of `specs` and of what `fn` returns.
 *
 * @throws UnsupportedKernelError for a kernel that has no ONNX form.
 * @throws TraceError when `fn` reads a tensor's value, or an output has the name of an input.
 */
export function trace<const Specs extends InputSpecs>(
  fn: Traceable<Specs>,
  specs: Specs,
  { name = 'graph', dropUnusedInputs = true }: TraceOptions = {},
): Graph {
  const before = tf.engine().backendName;
  const recorder = new Recorder();
  const inputs: Operand[] = [];
  const outputs: Operand[] = [];
  void tf.setBackend(BACKEND);
  backend.begin(recorder);
  try {
    tf.tidy(() => {
      const tensors: Record<string, tf.Tensor> = {};
      for (const [key, spec] of Object.entries(specs)) {
        const { shape, dtype, values } = inputSpec(spec);
        const operand = recorder.declare(key, shape, dtype);
        if (values) {
          const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
          recorder.initializers.set(key, { name: key, type: dtype, shape, data });
        } else inputs.push(operand);
        tensors[key] = tf.engine().makeTensorFromTensorInfo(backend.tensorInfo(operand));
      }
      for (const [key, tensor] of Object.entries(fn(tensors as TracedInputs<Specs>))) {
        if (recorder.has(key))
          throw new TraceError(
            `trace: expected output names of their own, got '${key}', the name of an input or a node.`,
          );
        outputs.push(recorder.output(key, backend.operandOf(tensor)));
      }
    });
  } catch (error) {
    throw explain(error);
  } finally {
    backend.end();
    restoreBackend(before);
  }
  return prune(recorder.graph(name, inputs, outputs), { dropUnusedInputs });
}
