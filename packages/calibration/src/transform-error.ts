/** A transformation that a model's switches do not allow. */
export class TransformError extends Error {
  override readonly name = 'TransformError';
  readonly transform: string;
  readonly expected: string;
  readonly received: string;

  constructor(transform: string, expected: string, received: string, advice: string) {
    super(`${transform}: expected ${expected}, got ${received}. ${advice}`);
    this.transform = transform;
    this.expected = expected;
    this.received = received;
  }
}
