/** Numbers as they are printed: true minus signs, powers of ten, spaces that no line is broken at. */
import { format } from 'd3-format';

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/**
 * Three digits, with a power of ten where they would be far from the point.
 *
 * @example
 * shortNumber(0.0000213); // => '2.13\u00a0×\u00a010⁻⁵'
 */
export function shortNumber(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'not a number' : x > 0 ? '∞' : '−∞';
  const size = Math.abs(x);
  if (size === 0) return '0';
  if (size >= 1e-3 && size < 1e5) return format(size >= 1000 ? ',.0f' : '.3~r')(x);
  const exponent = Math.floor(Math.log10(size));
  return `${format('.3~r')(x / 10 ** exponent)}\u00a0×\u00a0${powerOfTen(exponent)}`;
}

/** @example powerOfTen(-5); // => '10⁻⁵' */
export const powerOfTen = (exponent: number): string =>
  `10${exponent < 0 ? '⁻' : ''}${[...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]).join('')}`;

/** @example percent(0.0058); // => '0.58 %' */
export const percent = (share: number, digits = 2): string => `${format(`.${digits}f`)(100 * share)}\u00a0%`;

/** With a sign. @example signedPercent(0.0058); // => '+0.58 %' */
export const signedPercent = (share: number, digits = 2): string => `${format(`+.${digits}f`)(100 * share)}\u00a0%`;

/** @example decibels(31.26); // => '31.3' */
export const decibels = (x: number): string => format('.1f')(x);

/** @example fixed(29.228, 2); // => '29.23' */
export const fixed = (x: number, digits: number): string => format(`,.${digits}f`)(x);

/** @example bytes(249_330_672); // => '249 MB' */
export function bytes(count: number): string {
  const [unit, name] = count < 1e6 ? [1e3, 'kB'] : count < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${format('.3~r')(count / unit)}\u00a0${name}`;
}

/** @example count(134_000_000); // => '134 M' */
export function count(x: number): string {
  const [unit, name] = x < 1e6 ? [1e3, 'k'] : x < 1e9 ? [1e6, 'M'] : [1e9, 'G'];
  return `${format('.3~r')(x / unit)}\u00a0${name}`;
}

/** @example widthOf(32); // => 'float' */
export const widthOf = (bits: number): string => (bits >= 32 ? 'float' : `${bits}\u00a0bits`);
