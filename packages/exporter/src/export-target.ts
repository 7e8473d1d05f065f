/**
 * What an exporter is: a function from a quantized model to files. The built-in ones use nothing that others could not.
 */
import type { QuantizedModel } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import { exportOnnx, type OnnxOptions } from './export-onnx.ts';
import { exportQnnPrefill, type QnnOptions } from './export-qnn.ts';

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

/** Two ONNX files for Qualcomm's NPU, integers from end to end, and the one that prepares the inputs of the other. */
export const qnnQdqTarget: ExportTarget<QnnOptions> = {
  name: 'qnn-qdq',
  description: 'ONNX that the QNN execution provider puts on a Snapdragon NPU whole, integers in and out',
  async export(model, options) {
    const { graph, inputs } = await exportQnnPrefill(model, options);
    return new Map([
      ['prefill.onnx', graph],
      ['prefill-inputs.onnx', inputs],
    ]);
  },
};
