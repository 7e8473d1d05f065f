/**
 * Hadamard matrices: entries ±1, rows orthogonal, so that H · Hᵀ = n · I. A vector with one large entry becomes one whose entries
 * are all of one size.
 *
 *     Sylvester   n = 2m        [[H, H], [H, -H]]
 *     Paley I     n = q + 1     q ≡ 3 (mod 4)      H = I + C, C antisymmetric
 *     Paley II    n = 2(q + 1)  q ≡ 1 (mod 4)      H = C ⊗ [[1, 1], [1, -1]] + I ⊗ [[1, -1], [-1, -1]], C symmetric
 *
 * C says which differences of elements of the field of q are squares; q is a prime or the square of one.
 */

/** A Hadamard matrix of `size`, `[size, size]`; nothing where these constructions have none (92, and whatever 4 does not divide). */
export function hadamard(size: number): Int8Array | undefined {
  if (size === 1) return Int8Array.of(1);
  if (size < 1 || size % 2 !== 0) return undefined;
  const half = hadamard(size / 2);
  return half ? doubled(half, size / 2) : paley(size);
}

function doubled(half: Int8Array, size: number): Int8Array {
  const result = new Int8Array(4 * size * size);
  for (let i = 0; i < size * size; i++) {
    const [row, column, value] = [Math.floor(i / size), i % size, half[i] as number];
    const at = row * 2 * size + column;
    const below = at + 2 * size * size;
    result[at] = result[at + size] = result[below] = value;
    result[below + size] = -value;
  }
  return result;
}

function paley(size: number): Int8Array | undefined {
  const first = size % 4 === 0 ? conference(size - 1) : undefined;
  if (first) return first.map((value, i) => (i % (size + 1) === 0 ? 1 : value));
  const order = size / 2;
  const second = order % 4 === 2 ? conference(order - 1) : undefined;
  if (!second) return undefined;
  return new Int8Array(size * size).map((_, i) => {
    const [row, column] = [Math.floor(i / size), i % size];
    const [r, c] = [row % 2, column % 2];
    if (row - r === column - c) return r + c === 0 ? 1 : -1;
    return (second[(row >> 1) * order + (column >> 1)] as number) * (r * c === 1 ? -1 : 1);
  });
}

/** C of q, `[q + 1, q + 1]`: zeros on the diagonal, ones above, below them ±1 as q ≡ ∓1 (mod 4); nothing for other q. */
function conference(q: number): Int8Array | undefined {
  const character = quadraticCharacter(q);
  if (!character) return undefined;
  const size = q + 1;
  const below = q % 4 === 3 ? -1 : 1;
  return new Int8Array(size * size).map((_, i) => {
    const [row, column] = [Math.floor(i / size), i % size];
    if (row === 0) return column === 0 ? 0 : 1;
    return column === 0 ? below : character(row - 1, column - 1);
  });
}

type Character = (a: number, b: number) => number;

/** Of two elements of the field of q by their numbers: 1 where their difference is a square, -1 where not, 0 where there is none. */
function quadraticCharacter(q: number): Character | undefined {
  if (isPrime(q)) {
    const character = legendre(q);
    return (a, b) => character(a - b);
  }
  const p = Math.round(Math.sqrt(q));
  if (p * p !== q || p === 2 || !isPrime(p)) return undefined;
  // a0 + a1 √r, where r is no square: such a number is a square exactly if its norm a0² - r a1² is one in the field of p
  const character = legendre(p);
  const r = Array.from({ length: p }, (_, i) => i).find((i) => character(i) === -1) as number;
  return (a, b) => {
    const [low, high] = [(a % p) - (b % p), Math.floor(a / p) - Math.floor(b / p)];
    return character(low * low - r * high * high);
  };
}

function legendre(p: number): (a: number) => number {
  const squares = new Set(Array.from({ length: p }, (_, i) => (i * i) % p));
  return (a) => {
    const rest = ((a % p) + p) % p;
    if (rest === 0) return 0;
    return squares.has(rest) ? 1 : -1;
  };
}

function isPrime(n: number): boolean {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return n > 1;
}
