/**
 * A tfjs backend whose kernels compute nothing: each writes ONNX nodes into the current recorder.
 *
 * tfjs's registries are global; this file is where we touch them.
 */
import * as tf from '@tensorflow/tfjs';
import { TraceError, UnsupportedKernelError } from './errors.ts';
import type { ConstantType, Operand, Recorder } from './recorder.ts';

/** The name under which the backend is registered with tfjs. */
export const BACKEND = 'onnx-trace';

type Data = Float32Array | Int32Array | Uint8Array;

interface Entry {
  /** The value's name in the trace that `epoch` counts. */
  name: string;
  epoch: number;
  references: number;
  /** Present for tensors that came with values: they become initializers, and stay readable. */
  readonly values?: { readonly data: Data; readonly shape: number[]; readonly dtype: tf.DataType };
}

const asData = (data: tf.backend_util.BackendValues, dtype: tf.DataType): Data => {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return data as Data;
  throw new TraceError(`trace: expected tensors of float32, int32 or bool, got ${dtype}.`);
};

class TraceBackend extends tf.KernelBackend {
  readonly #data = new tf.DataStorage<Entry>(this, tf.engine());
  #recorder: Recorder | undefined;
  #epoch = 0;

  get recorder(): Recorder {
    if (!this.#recorder) throw new TraceError('trace: a traced tensor was used outside trace().');
    return this.#recorder;
  }

  begin(recorder: Recorder): void {
    if (this.#recorder) throw new TraceError('trace: expected one trace at a time, got a trace inside a trace.');
    this.#recorder = recorder;
    this.#epoch++;
  }

  end(): void {
    this.#recorder = undefined;
  }

  #constant({ data, shape, dtype }: NonNullable<Entry['values']>): string {
    return this.recorder.constant(data, shape, dtype as ConstantType).name;
  }

  #put(entry: Omit<Entry, 'epoch' | 'references'>): object {
    const id = {};
    this.#data.set(id, { ...entry, epoch: this.#epoch, references: 1 });
    return id;
  }

  /** A tfjs tensor that stands for a value of the graph. */
  tensorInfo({ name, shape, type }: Operand): tf.TensorInfo {
    return { dataId: this.#put({ name }), shape: [...shape], dtype: type as tf.DataType };
  }

  operandOf(info: tf.TensorInfo): Operand {
    const entry = this.#data.get(info.dataId);
    if (entry.epoch !== this.#epoch) {
      if (!entry.values)
        throw new TraceError('trace: a tensor of an earlier trace entered this one. Pass its value as an input.');
      entry.name = this.#constant(entry.values);
      entry.epoch = this.#epoch;
    }
    return { name: entry.name, shape: info.shape, type: info.dtype as Operand['type'] };
  }

  override write(data: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType): object {
    const values = { data: asData(data, dtype), shape, dtype };
    return this.#put({ name: this.#constant(values), values });
  }

  override move(
    id: object,
    data: tf.backend_util.BackendValues,
    shape: number[],
    dtype: tf.DataType,
    references: number,
  ): void {
    const values = { data: asData(data, dtype), shape, dtype };
    this.#data.set(id, { name: this.#constant(values), values, epoch: this.#epoch, references });
  }

  override readSync(id: object): Data {
    const { values } = this.#data.get(id);
    if (!values)
      throw new TraceError(
        'trace: a traced tensor has no value. Control flow must not depend on one; return it as an output instead.',
      );
    return values.data;
  }

  override async read(id: object): Promise<Data> {
    return this.readSync(id);
  }

  override numDataIds(): number {
    return this.#data.numDataIds();
  }

  override refCount(id: object): number {
    return this.#data.has(id) ? this.#data.get(id).references : 0;
  }

  override incRef(id: object): void {
    this.#data.get(id).references++;
  }

  override disposeData(id: object, force = false): boolean {
    if (!this.#data.has(id)) return true;
    const entry = this.#data.get(id);
    entry.references--;
    if (!force && entry.references > 0) return false;
    this.#data.delete(id);
    return true;
  }

  override memory(): { unreliable: boolean; reasons: string[] } {
    return { unreliable: true, reasons: ['traced tensors hold no values'] };
  }

  override floatPrecision(): 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }
}

export const backend: TraceBackend = new TraceBackend();
tf.registerBackend(BACKEND, () => backend, 0);

/**
 * The ONNX form of a tfjs kernel. `inputs` are the kernel's, by their tfjs names; kernels with a list of inputs
 * (AddN, Concat) have them under '0', '1', ….
 */
export type Lowering<Inputs extends string = string, Attributes = unknown> = (
  recorder: Recorder,
  inputs: Record<Inputs, Operand>,
  attributes: Attributes,
) => Operand | Operand[];

/**
 * Gives a tfjs kernel its ONNX form. Packages that define kernels of their own (`tf.registerKernel`) call it once, at load.
 */
export function lower<Inputs extends string = string, Attributes = unknown>(
  kernelName: string,
  lowering: Lowering<Inputs, Attributes>,
): void {
  tf.registerKernel({
    kernelName,
    backendName: BACKEND,
    kernelFunc: ({ inputs, attrs }) => {
      const operands = Object.fromEntries(
        Object.entries(inputs as Record<string, tf.TensorInfo | undefined>)
          .filter((entry): entry is [string, tf.TensorInfo] => entry[1] != null)
          .map(([key, info]) => [key, backend.operandOf(info)]),
      );
      const result = lowering(backend.recorder, operands as Record<Inputs, Operand>, attrs as Attributes);
      return Array.isArray(result) ? result.map((r) => backend.tensorInfo(r)) : backend.tensorInfo(result);
    },
  });
}

/** tfjs reports a missing kernel in words of its own; say which one, and what to do. */
export function explain(error: unknown): unknown {
  const missing = /Kernel '?(\w+)'? not registered for backend/.exec(error instanceof Error ? error.message : '');
  return missing ? new UnsupportedKernelError(missing[1] as string) : error;
}

/** Goes back to the backend before a trace; if there was none, the choice is tfjs's again, at its next operation. */
export function restoreBackend(before: string | undefined): void {
  if (before !== undefined) void tf.setBackend(before);
  else Object.assign(tf.engine(), { backendName: undefined, backendInstance: null });
}
