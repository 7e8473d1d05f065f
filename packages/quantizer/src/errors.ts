/**
 * What can go wrong, by what a caller would do about it. The facts are fields; the message is built from them:
 * "where: expected X, got Y. What to do."
 */

/** The facts of an error. */
export interface ErrorFacts {
  /** Where it happened: a site, a path in a file, a function. */
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

/** A recipe, or one of its specs, asks for something that does not exist. */
export class RecipeError extends FactsError {
  override readonly name = 'RecipeError';
}

/** A file does not have the form it should have. */
export class FormatError extends FactsError {
  override readonly name = 'FormatError';
}

/** Sizes do not fit together. */
export class ShapeError extends FactsError {
  override readonly name = 'ShapeError';
}

/** A NaN or an infinity stands where a range or an integer is to be made. */
export class NonFiniteError extends FactsError {
  override readonly name = 'NonFiniteError';
}

/** An error class of this package, for checks that do not know whose file they read. */
export type FactsErrorClass = new (facts: ErrorFacts) => Error;
