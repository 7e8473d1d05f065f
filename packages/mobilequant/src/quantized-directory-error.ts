/** A directory that does not hold what a quantized model needs. */
export class QuantizedDirectoryError extends Error {
  override readonly name = 'QuantizedDirectoryError';
  readonly directory: string;

  constructor(directory: string, expected: string, received: string, advice: string) {
    super(`${directory}: expected ${expected}, got ${received}. ${advice}`);
    this.directory = directory;
  }
}
