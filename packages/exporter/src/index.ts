/** Lays a quantized model out for a device. Writing files is in `./node`. */

export { cachedModel, isCached } from './cached-model.ts';
export type { CheckpointSettings } from './checkpoint-settings.ts';
export { type DeployTapOptions, deployTap, type TappedSite } from './deploy-tap.ts';
export { EncodingsError } from './encodings/encodings-error.ts';
export {
  ENCODINGS_VERSIONS,
  type EncodingsJsonOptions,
  type EncodingsVersion,
  encodingsJson,
} from './encodings/encodings-json.ts';
export { parseEncodings } from './encodings/parse-encodings.ts';
export {
  type Blocks,
  type EncodingsFile,
  encodingOf,
  type FloatEncoding,
  type IntegerEncoding,
  type TensorEncoding,
  type TensorGranularity,
} from './encodings/tensor-encoding.ts';
export { defaultFacts, type TensorFacts, tensorFacts } from './encodings/tensor-facts.ts';
export { ExportError } from './errors.ts';
export { type CachedOnnxOptions, exportCachedOnnx } from './export-cached-onnx.ts';
export { type EncodedGraphs, encodedGraphs } from './export-encodings.ts';
export { exportOnnx, type OnnxOptions } from './export-onnx.ts';
export {
  exportQnnDecode,
  exportQnnPrefill,
  type QnnDecodeOptions,
  type QnnGraphs,
  type QnnPrefillOptions,
} from './export-qnn.ts';
export {
  type ExportFile,
  type ExportFiles,
  type ExportTarget,
  type NamedGraph,
  onnxTarget,
  type QnnEncodingsOptions,
  type QnnOptions,
  qnnEncodingsTarget,
  qnnQdqTarget,
} from './export-target.ts';
export { type GenaiQnnOptions, genaiQnnTarget } from './genai-qnn-target.ts';
export { htpArithmetic } from './htp/htp-arithmetic.ts';
export { type IntegerKernels, integerForm, integerKernels } from './integer-kernels.ts';
export { type IntegerModelOptions, integerModel } from './integer-model.ts';
export { checkEncodings, type LintOptions, lintGraph, lintRules } from './lint/lint-graph.ts';
export type { Finding, LintDevice, LintRule, Severity } from './lint/lint-rule.ts';
export { onnxModel } from './onnx-model.ts';
export { type QnnModelOptions, type QnnPair, qnnModel } from './qnn-model.ts';
export { runtimeForm } from './runtime-form.ts';
export {
  genaiTarget,
  type RuntimeTargetOptions,
  transformersJsTarget,
} from './runtime-targets.ts';
export { fuseTransposes, standardOperators } from './standard-operators.ts';
export { type FloatForm, stripQuantizers } from './strip-quantizers.ts';
export { unpackInt4 } from './unpack-int4.ts';
