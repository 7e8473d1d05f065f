/** An encodings file that is not in order, or a version of the format that cannot say what it was given. */
export class EncodingsError extends Error {
  override readonly name = 'EncodingsError';
  /** The place in the file, or the tensor. */
  readonly where: string;
  readonly expected: string;
  readonly received: string;

  constructor(where: string, expected: string, received: string, advice: string, options?: ErrorOptions) {
    super(printable(`encodings: ${where}: expected ${expected}, got ${received}. ${advice}`), options);
    this.where = where;
    this.expected = expected;
    this.received = received;
  }
}

/** Names and texts of a file may hold anything; a message is one line. */
const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
