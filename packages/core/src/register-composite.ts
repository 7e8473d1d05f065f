/**
 * Kernels of our own on the tfjs backends that compute. The backend that records has each kernel's lowering instead (`lower`).
 */
import * as tf from '@tensorflow/tfjs';

/** Registers a kernel that is a composition of other operations on the backends that compute. */
export function registerComposite<I extends object, A>(
  kernelName: string,
  compute: (inputs: I, attributes: A) => tf.Tensor | tf.Tensor[],
): void {
  const tensor = (info: tf.TensorInfo) =>
    info instanceof tf.Tensor ? info : tf.engine().makeTensorFromTensorInfo(info);
  for (const backendName of ['cpu', 'wasm', 'webgl', 'webgpu']) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) =>
        tf.tidy(() => {
          const tensors = Object.fromEntries(
            Object.entries(inputs).map(([key, info]) => [key, tensor(info as tf.TensorInfo)]),
          );
          return compute(tensors as I, attrs as A);
        }),
    });
  }
}
