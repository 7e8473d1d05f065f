/**
 * What an exporter is: a function from a quantized model to files. The built-in ones use nothing that others could not.
 */
import type { QuantizedModel } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import { exportOnnx, type OnnxOptions } from './export-onnx.ts';

/** A file's content: a graph (written as ONNX, large weights beside it), text, or bytes. */
export type ExportFile = Graph | string | Uint8Array;

/** Path in the exported directory, with `/` → content. */
export type ExportFiles = ReadonlyMap<string, ExportFile>;

/** Lays a model out for a device. `Options` is what this target can be told. */
export interface ExportTarget<Options extends object = object> {
  readonly name: string;
  /** One line for a list of targets. */
  readonly description: string;
  /**
   * @throws ExportError for a site that the target cannot express.
   */
  export(model: QuantizedModel, options?: Options): Promise<ExportFiles>;
}

/** One ONNX file with QuantizeLinear and DequantizeLinear, for ONNX Runtime and whatever reads that form. */
export const onnxTarget: ExportTarget<OnnxOptions> = {
  name: 'onnx',
  description: 'One ONNX model: tokens in, logits out, weights as integers',
  export: async (model, options) => new Map([['model.onnx', await exportOnnx(model, options)]]),
};
