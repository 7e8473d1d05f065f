/**
 * ONNX Runtime for the browser (WebAssembly, WebGPU): the only file that imports `onnxruntime-web`.
 */
import * as ort from 'onnxruntime-web';
import { createRuntime, type Runtime, type RuntimeOptions } from './runtime.ts';

/** A runtime on WebAssembly by default; name `webgpu` among the execution providers for the GPU. */
export function webRuntime(options: RuntimeOptions = {}): Runtime {
  return createRuntime(ort, { executionProviders: ['wasm'], ...options });
}
