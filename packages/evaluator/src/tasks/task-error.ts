/** A task, an item, or a file of results that is not what it should be. */
export class TaskError extends Error {
  override readonly name = 'TaskError';
  readonly where: string;
  readonly expected: string;
  readonly received: string;

  constructor(where: string, expected: string, received: string, advice: string, options?: ErrorOptions) {
    super(`${where}: expected ${expected}, got ${received}. ${advice}`, options);
    this.where = where;
    this.expected = expected;
    this.received = received;
  }
}
