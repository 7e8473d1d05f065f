/**
 * What can go wrong, by what a caller would do about it. The facts are fields; the message is built from them:
 * "where: expected X, got Y. What to do."
 */

/** The facts of an error. */
export interface ErrorFacts {
  /** Where it happened: a function, and the node, value or file. */
  readonly where: string;
  readonly expected: string;
  readonly received: string;
  /** What the caller can do about it; a full sentence. */
  readonly advice?: string;
}

class FactsError extends Error {
  readonly where: string;
  readonly expected: string;
  readonly received: string;

  constructor({ where, expected, received, advice }: ErrorFacts, options?: ErrorOptions) {
    super(`${where}: expected ${expected}, got ${received}.${advice === undefined ? '' : ` ${advice}`}`, options);
    this.where = where;
    this.expected = expected;
    this.received = received;
  }
}

/** A graph, or a part of it, is not what it must be. */
export class GraphError extends FactsError {
  override readonly name = 'GraphError';
}

/** A model file does not have the form it should have, or asks for something that is not supported. */
export class FormatError extends FactsError {
  override readonly name = 'FormatError';
}
