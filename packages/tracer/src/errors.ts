/** A tfjs kernel that has no ONNX form here. Add one with `lower`. */
export class UnsupportedKernelError extends Error {
  override readonly name = 'UnsupportedKernelError';
  readonly kernel: string;

  constructor(kernel: string) {
    super(
      `trace: expected kernels with an ONNX form, got '${kernel}', which has none. ` +
        `Write the function with other operations, or give the kernel one with lower('${kernel}', …).`,
    );
    this.kernel = kernel;
  }
}

/** A traced function did something that a recording cannot hold. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** A program was fed, or asked for, something that its graph does not have. */
export class FeedError extends Error {
  override readonly name = 'FeedError';
}
