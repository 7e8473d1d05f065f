/** How many rows of logits are worked on at once: their number times the vocabulary is what the head holds, several times over. */

const ROWS = 128;
const LOGITS = 2 ** 23; // 32 MB

/**
 * @example
 * headRows({ vocab: 49_152 }); // => 128
 * headRows({ vocab: 262_144 }); // => 32
 */
export const headRows = ({ vocab }: { readonly vocab: number }): number =>
  Math.max(1, Math.min(ROWS, Math.floor(LOGITS / vocab)));
