/**
 * ONNX Runtime for Node: the only file that imports `onnxruntime-node`.
 */
import * as ort from 'onnxruntime-node';
import { createRuntime, type Runtime, type RuntimeOptions } from './runtime.ts';

/** A runtime on this machine's processor, or on any execution provider that the installed onnxruntime-node has. */
export function nodeRuntime(options: RuntimeOptions = {}): Runtime {
  return createRuntime(ort, options);
}
