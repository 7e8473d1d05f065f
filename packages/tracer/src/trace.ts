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

export type Traceable = (inputs: Record<string, tf.Tensor>) => Record<string, tf.Tensor>;

export interface TraceOptions {
  readonly name?: string;
  /** Drop inputs that no output depends on. */
  readonly dropUnusedInputs?: boolean;
}

const isShape = (spec: readonly number[] | InputSpec): spec is readonly number[] => Array.isArray(spec);

/**
 * Records `fn` as a graph whose inputs and outputs have the names of `specs` and of what `fn` returns.
 *
 * @throws UnsupportedKernelError for a kernel that has no ONNX form.
 * @throws TraceError when `fn` reads a tensor's value, or an output has the name of an input.
 */
export function trace(
  fn: Traceable,
  specs: InputSpecs,
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
        const { shape, dtype = 'float32', values } = isShape(spec) ? ({ shape: spec } as InputSpec) : spec;
        const operand = recorder.declare(key, shape, dtype);
        if (values) {
          const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
          recorder.initializers.set(key, { name: key, type: dtype, shape, data });
        } else inputs.push(operand);
        tensors[key] = tf.engine().makeTensorFromTensorInfo(backend.tensorInfo(operand));
      }
      for (const [key, tensor] of Object.entries(fn(tensors))) {
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
