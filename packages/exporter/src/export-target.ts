/**
 * What an exporter is: a function from a quantized model to files. The built-in ones use nothing that others could not.
 */
import type { QuantizedModel } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import { type EncodingsVersion, encodingsJson } from './encodings/encodings-json.ts';
import { encodedGraphs } from './export-encodings.ts';
import { exportOnnx, type OnnxOptions } from './export-onnx.ts';
import { exportQnnDecode, exportQnnPrefill, type QnnGraphs } from './export-qnn.ts';

/** A file's content: a graph (written as ONNX, large weights beside it), text, or bytes. */
export type ExportFile = Graph | NamedGraph | string | Uint8Array;

/** A graph whose large weights lie in a file of another name than `<the graph's>.data`. */
export interface NamedGraph {
  readonly graph: Graph;
  /** What that file's name has behind the graph's. */
  readonly dataSuffix: string;
}

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

export interface QnnOptions {
  /** Length of the text that prefill takes; shorter texts are padded on the right. Default 128, at most the model's. */
  readonly tokens?: number;
  /** Positions that decode knows: prefix, text, and what is generated. Default 512, at most the model's, and at least what prefill needs. */
  readonly context?: number;
}

/** Two graphs for Qualcomm's NPU, integers from end to end, and for each the one that prepares its inputs. */
export const qnnQdqTarget: ExportTarget<QnnOptions> = {
  name: 'qnn-qdq',
  description: 'ONNX that the QNN execution provider puts on a Snapdragon NPU whole, integers in and out',
  async export(model, options) {
    const { prefill, decode } = await qnnPair(model, options);
    return new Map([
      ['prefill.onnx', prefill.graph],
      ['prefill-inputs.onnx', prefill.inputs],
      ['decode.onnx', decode.graph],
      ['decode-inputs.onnx', decode.inputs],
    ]);
  },
};

export interface QnnEncodingsOptions extends QnnOptions {
  /** Of the encodings. Default 1.0.0, which all converters read. */
  readonly version?: EncodingsVersion;
}

/** The same graphs in float, and their grids as files of encodings. */
export const qnnEncodingsTarget: ExportTarget<QnnEncodingsOptions> = {
  name: 'qnn-encodings',
  description: 'Float ONNX and AIMET encodings of every tensor, for the converters of Qualcomm’s SDK',
  async export(model, { version, ...options } = {}) {
    const pair = await qnnPair(model, options);
    const [prefill, decode] = [await encodedGraphs(pair.prefill), await encodedGraphs(pair.decode)];
    const written = version === undefined ? {} : { version };
    return new Map<string, ExportFile>([
      ['prefill.onnx', prefill.graph],
      ['prefill.encodings', encodingsJson(prefill.encodings, written)],
      ['prefill-inputs.onnx', prefill.inputs],
      ['decode.onnx', decode.graph],
      ['decode.encodings', encodingsJson(decode.encodings, written)],
      ['decode-inputs.onnx', decode.inputs],
    ]);
  },
};

/** Both graphs for a device, by a target's options. */
async function qnnPair(
  model: QuantizedModel,
  options: QnnOptions = {},
): Promise<{ prefill: QnnGraphs; decode: QnnGraphs }> {
  const { maxPositions, prefix } = model.config;
  const { tokens = Math.min(128, maxPositions) } = options;
  const least = Math.min(prefix.length + tokens + 1, maxPositions);
  const { context = Math.max(Math.min(512, maxPositions), least) } = options;
  return { prefill: await exportQnnPrefill(model, { tokens }), decode: await exportQnnDecode(model, { context }) };
}
