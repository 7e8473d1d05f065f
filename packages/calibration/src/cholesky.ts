/**
 * Cholesky: a symmetric positive definite matrix as L Lᵀ, L lower triangular, in panels of columns.
 *
 *     L[p..][p] = (A[p..][p] - Σ_{q<p} L[p..][q] L[p][q]ᵀ) L[p][p]⁻ᵀ
 *
 * What earlier panels take off is one product each, run by the executor in float32: all but a sliver of the work. What is left, a panel
 * against its own square, is plain loops in float64.
 */
import type { ProgramCache } from '@mobilequant/tracer';
import * as tf from '@tensorflow/tfjs';

/** Columns `from … from + width` of a lower triangular matrix, from the diagonal down. */
export interface Panel {
  readonly from: number;
  readonly width: number;
  /** `[size - from, width]`, zero above the diagonal. */
  readonly data: Float32Array;
}

export interface CholeskyOptions {
  /** Factor the matrix with its rows and columns in this order. Default: as they are. */
  readonly order?: ArrayLike<number>;
  /** Columns in a panel. Default 128. */
  readonly width?: number;
  /** A squared pivot that is not above this counts as none. Default 0. */
  readonly least?: number;
}

/**
 * The panels of L; `undefined` when the matrix is not positive definite, as far as float32 can tell.
 *
 * @param matrix `[size, size]`, row-major; only the upper triangle is looked at.
 */
export async function cholesky(
  programs: ProgramCache,
  matrix: Float32Array,
  size: number,
  { order = Int32Array.from({ length: size }, (_, i) => i), width: wanted = 128, least = 0 }: CholeskyOptions = {},
): Promise<readonly Panel[] | undefined> {
  const panels: Panel[] = [];
  for (let from = 0; from < size; from += wanted) {
    const width = Math.min(wanted, size - from);
    const rows = size - from;
    let data = columnsOf(matrix, order, from, width);
    for (const earlier of panels) {
      const left = earlier.data.subarray((from - earlier.from) * earlier.width);
      const program = await programs.program(
        `cholesky ${rows} ${width} ${earlier.width}`,
        () => ({ own: [rows, width], left: [rows, earlier.width], right: [width, earlier.width] }),
        ({ own, left, right }) => ({ y: tf.sub(own, tf.matMul(left, right, false, true)) }),
      );
      const { y } = await program.run({
        own: { data, shape: [rows, width] },
        left: { data: left, shape: [rows, earlier.width] },
        right: { data: left.subarray(0, width * earlier.width), shape: [width, earlier.width] },
      });
      data = y.data as Float32Array;
    }
    if (!solvePanel(data, width, least)) return undefined;
    panels.push({ from, width, data });
  }
  return panels;
}

/** Columns `from … from + width` of the reordered matrix, from the diagonal down, `[size - from, width]`. */
function columnsOf(matrix: Float32Array, order: ArrayLike<number>, from: number, width: number): Float32Array {
  const size = order.length;
  const columns = new Float32Array((size - from) * width);
  for (let i = from, at = 0; i < size; i++) {
    const row = order[i] as number;
    for (let j = from; j < from + width; j++) {
      const column = order[j] as number;
      columns[at++] = matrix[row < column ? row * size + column : column * size + row] as number;
    }
  }
  return columns;
}

/** Solves `X square ᵀ = panel` in place, where `square` is the Cholesky factor of the panel's first rows; false if they have none. */
function solvePanel(panel: Float32Array, width: number, least: number): boolean {
  const columns = Array.from({ length: width }, () => new Float64Array(width)); // of the square, each from its diagonal down
  const rest = new Float64Array(width);
  for (let i = 0; i * width < panel.length; i++) {
    const last = Math.min(i, width - 1);
    for (let j = 0; j <= last; j++) rest[j] = panel[i * width + j] as number;
    for (let j = 0; j <= last; j++) {
      const column = columns[j] as Float64Array;
      const onDiagonal = i === j;
      if (onDiagonal && !((rest[j] as number) > least)) return false;
      const own = onDiagonal ? Math.sqrt(rest[j] as number) : (rest[j] as number) / (column[j] as number);
      rest[j] = own;
      if (i < width) column[i] = own;
      for (let k = j + 1; k <= last; k++) rest[k] = (rest[k] as number) - own * (column[k] as number);
    }
    panel.set(rest.subarray(0, last + 1), i * width);
    panel.fill(0, i * width + last + 1, (i + 1) * width);
  }
  return true;
}
