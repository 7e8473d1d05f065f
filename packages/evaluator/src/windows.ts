/**
 * Which tokens of a text are measured: windows of consecutive tokens, not overlapping, from the start of the text.
 */

/** A text that is shorter than one window, or windows that score nothing. */
export class WindowError extends Error {
  override readonly name = 'WindowError';
  readonly expected: string;
  readonly received: string;

  constructor(expected: string, received: string, advice: string) {
    super(`windows: expected ${expected}, got ${received}. ${advice}`);
    this.expected = expected;
    this.received = received;
  }
}

/** How a text is divided. */
export interface WindowOptions {
  /** Tokens of a window; at least 2, since the first one is not scored. */
  readonly tokens: number;
  /** Windows at most; by default as many as the text has. */
  readonly windows?: number;
}

/**
 * The windows of a text, fewer than asked for where it ends before; a rest that fills none is left out.
 *
 * @throws WindowError for a text without one whole window.
 */
export function windowsOf(
  text: Int32Array,
  { tokens, windows = Number.POSITIVE_INFINITY }: WindowOptions,
): Int32Array[] {
  if (!(Number.isInteger(tokens) && tokens >= 2)) {
    throw new WindowError('at least 2 tokens a window', String(tokens), 'The first token of a window is not scored.');
  }
  if (!(windows >= 1)) throw new WindowError('at least 1 window', String(windows), 'Ask for one or more.');
  const count = Math.min(Math.floor(text.length / tokens), windows);
  if (count < 1) {
    throw new WindowError(
      `a text of at least ${tokens} tokens`,
      String(text.length),
      'Use shorter windows or a longer text.',
    );
  }
  return Array.from({ length: Math.floor(count) }, (_, i) => text.subarray(i * tokens, (i + 1) * tokens));
}
