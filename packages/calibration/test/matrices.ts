/** Small matrices and what is computed of them slowly, in float64. */
import { type Encoding, gridFromEncoding, roundHalfEven } from '@mobilequant/quantizer';
import { normal } from './tiny-layer.ts';

export type Matrix = number[][];

export const transposed = (a: Matrix): Matrix => (a[0] ?? []).map((_, j) => a.map((row) => row[j] as number));
const dot = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
export const product = (a: Matrix, b: Matrix): Matrix => {
  const columns = transposed(b);
  return a.map((row) => columns.map((column) => dot(row, column)));
};
export const flat = (a: Matrix): Float32Array => Float32Array.from(a.flat());
export const rowsOf = (data: ArrayLike<number>, columns: number): Matrix =>
  Array.from({ length: data.length / columns }, (_, i) => Array.from(data).slice(i * columns, (i + 1) * columns));

/** Correlated inputs with channels of very different size, `[tokens, channels]`. */
export function inputs(tokens: number, channels: number, seed: number): Matrix {
  const next = normal(seed);
  const common = Array.from({ length: channels }, next);
  const size = Array.from({ length: channels }, () => Math.exp(next()));
  return Array.from({ length: tokens }, () => {
    const shared = next();
    return size.map((s, j) => s * (next() + shared * (common[j] as number)));
  });
}

export const weight = (rows: number, columns: number, seed: number): Matrix => {
  const next = normal(seed);
  return Array.from({ length: rows }, () => Array.from({ length: columns }, () => Math.fround(next())));
};

/** Gauss-Jordan. */
export function inverse(a: Matrix): Matrix {
  const n = a.length;
  const work = a.map((row, i) => [...row, ...row.map((_, j) => Number(i === j))]);
  for (let k = 0; k < n; k++) {
    const pivot = work[k] as number[];
    const by = pivot[k] as number;
    pivot.forEach((x, j) => (pivot[j] = x / by));
    work.forEach((row, i) => {
      const factor = row[k] as number;
      if (i !== k) row.forEach((x, j) => (row[j] = x - factor * (pivot[j] as number)));
    });
  }
  return work.map((row) => row.slice(n));
}

/** H with a part of its mean diagonal added to the diagonal. */
export function damped(h: Matrix, damping: number): Matrix {
  const mean = h.reduce((sum, row, i) => sum + (row[i] as number), 0) / h.length;
  return h.map((row, i) => row.map((x, j) => (i === j ? x + damping * mean : x)));
}

/** Column numbers, the largest diagonal first. */
export const byDiagonal = (h: Matrix): number[] =>
  [...h.keys()].sort((a, b) => (h[b]?.[b] as number) - (h[a]?.[a] as number) || a - b);

/** Every number of one matrix times all of the other. */
export const kronecker = (a: Matrix, b: Matrix): Matrix =>
  a.flatMap((row) => b.map((other) => row.flatMap((x) => other.map((y) => x * y))));

/**
 * GPTQ as its paper derives it: round the column with the largest diagonal, make up for it with all that are left by the inverse Hessian,
 * take it out of the inverse, go on.
 */
export function slowGptq(w: Matrix, h: Matrix, encoding: Encoding, order = byDiagonal(h)): Matrix {
  const { scale, offset, qmax } = gridFromEncoding(encoding);
  const columns = h.length;
  const groupLength = (w.length * columns) / scale.length;
  const rest = w.map((row) => [...row]);
  const levels = w.map((row) => row.map(() => 0));
  let inverted = inverse(h);
  for (const k of order) {
    const own = inverted[k] as number[];
    rest.forEach((row, r) => {
      const group = Math.floor((r * columns + k) / groupLength);
      const [s, o] = [scale[group] as number, offset[group] as number];
      const level = Math.min(Math.max(roundHalfEven((row[k] as number) / s) + o, 0), qmax);
      const error = ((row[k] as number) - (level - o) * s) / (own[k] as number);
      (levels[r] as number[])[k] = level;
      row.forEach((x, j) => (row[j] = x - error * (own[j] as number)));
    });
    inverted = inverted.map((row) =>
      row.map((x, j) => x - ((row[k] as number) * (own[j] as number)) / (own[k] as number)),
    );
  }
  return levels;
}

/** tr(a bᵀ) */
export const trace = (a: Matrix, b: Matrix): number => a.reduce((sum, row, i) => sum + dot(row, b[i] as number[]), 0);

/** tr(e H eᵀ) */
export const quadratic = (e: Matrix, h: Matrix): number =>
  product(e, h).reduce((sum, row, i) => sum + dot(row, e[i] as number[]), 0);
export const difference = (a: Matrix, b: Matrix): Matrix =>
  a.map((row, i) => row.map((x, j) => x - (b[i]?.[j] as number)));
