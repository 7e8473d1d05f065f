/** What can be wrong with a model on disk: a malformed file, a missing one, or numbers that a type cannot hold. */

/** The facts of a malformed file. */
export interface FormatProblem {
  /** The file, as the caller named it. */
  readonly file: string;
  /** The place in it: `header`, `tensor 'x'`, `weight_map`, …. */
  readonly where: string;
  readonly expected: string;
  readonly received: string;
  /** What to do; by default, to get the file again. */
  readonly cure?: string;
}

const GET_AGAIN = 'The file is damaged or not what it seems: get it again.';

/** A file is not what its format says: truncated, contradictory, or hostile. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
  readonly file: string;
  readonly where: string;
  readonly expected: string;
  readonly received: string;

  constructor({ file, where, expected, received, cure = GET_AGAIN }: FormatProblem, options?: ErrorOptions) {
    super(printable(`${file}: ${where}: expected ${expected}, got ${received}. ${cure}`), options);
    this.file = file;
    this.where = where;
    this.expected = expected;
    this.received = received;
  }
}

/** The facts of a directory that cannot be used. */
export interface CheckpointProblem {
  readonly directory: string;
  readonly expected: string;
  readonly received: string;
  readonly cure: string;
}

/** A model directory is not there, lacks something, or is in the way. */
export class CheckpointError extends Error {
  override readonly name = 'CheckpointError';
  readonly directory: string;
  readonly expected: string;
  readonly received: string;

  constructor({ directory, expected, received, cure }: CheckpointProblem, options?: ErrorOptions) {
    super(`${directory}: expected ${expected}, got ${received}. ${cure}`, options);
    this.directory = directory;
    this.expected = expected;
    this.received = received;
  }
}

/** Finite numbers became infinite in the type that they were to be written in. */
export class OverflowError extends Error {
  override readonly name = 'OverflowError';
  readonly tensor: string;
  readonly count: number;

  constructor({ tensor, dtype, count, value }: { tensor: string; dtype: string; count: number; value: number }) {
    super(
      `tensor '${tensor}': expected values that ${dtype} can hold, got ${value}` +
        `${count > 1 ? ` and ${count - 1} more` : ''} beyond it. Write it as float32 or bfloat16.`,
    );
    this.tensor = tensor;
    this.count = count;
  }
}

/** Names out of a hostile file must not steer the terminal that shows them. */
const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, '?');
