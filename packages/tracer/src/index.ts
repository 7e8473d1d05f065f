/** Records tfjs functions and their gradients as ONNX graphs, and runs them on an ONNX Runtime. */
export { trace, type InputSpec, type InputSpecs, type Traceable, type TraceOptions } from './trace.ts';
export { lower, type Lowering } from './backend.ts';
export { MICROSOFT, Recorder, type EmitOptions, type Operand } from './recorder.ts';
export { fullDot, product, rowDot, type Transposed } from './kernels/products.ts';
export { eagerExecutor } from './eager-executor.ts';
export {
  createRuntime,
  type Executor,
  value,
  type OnnxRuntime,
  type Program,
  type Runtime,
  type RuntimeOptions,
  type TensorData,
  type Value,
  type Values,
} from './runtime.ts';
export { FeedError, TraceError, UnsupportedKernelError } from './errors.ts';
