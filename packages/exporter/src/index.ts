/** Lays a quantized model out for a device. Writing files is in `./node`. */
export { exportOnnx, type OnnxOptions } from './export-onnx.ts';
export { type ExportFile, type ExportFiles, type ExportTarget, onnxTarget } from './export-target.ts';
export { integerModel, type IntegerModelOptions } from './integer-model.ts';
export { integerForm, integerKernels, type IntegerKernels } from './integer-kernels.ts';
export { deployTap, type DeployTapOptions, type TappedSite } from './deploy-tap.ts';
export { fuseTransposes, standardOperators } from './standard-operators.ts';
export { unpackInt4 } from './unpack-int4.ts';
export { ExportError } from './errors.ts';
