/** Records tfjs functions and their gradients as ONNX graphs, and runs them on an ONNX Runtime. */

export { type Lowering, lower } from './backend.ts';
export { eagerExecutor } from './eager-executor.ts';
export { FeedError, TraceError, UnsupportedKernelError } from './errors.ts';
export { fullDot, product, rowDot, type Transposed } from './kernels/products.ts';
export { type ProgramCache, programCache } from './program-cache.ts';
export { type EmitOptions, MICROSOFT, type Operand, Recorder } from './recorder.ts';
export {
  createRuntime,
  type Executor,
  type InputType,
  type OnnxRuntime,
  type Program,
  type Results,
  type Runtime,
  type RuntimeOptions,
  type TensorData,
  type Value,
  type Values,
} from './runtime.ts';
export {
  type InputSpec,
  type InputSpecs,
  type Traceable,
  type TracedInputs,
  type TraceOptions,
  trace,
} from './trace.ts';
