/**
 * Strings as Python treats them, where that differs from here: what is whitespace, what a character is. The harness is written in Python,
 * and a prompt must be the same to the last byte.
 */

/** What `str.isspace` holds for, as a class of a regular expression; `\s` of this language has U+FEFF, and lacks U+001C to U+001F and U+0085. */
export const SPACE = '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';

const LEADING = new RegExp(`^${SPACE}+`);
const SPACES = new RegExp(`${SPACE}+`);

/** `str.rstrip()`, from the end: a pattern with `$` would be tried at every space before it. */
export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && SPACES.test(text[end - 1] as string)) end--;
  return text.slice(0, end);
}

/** `str.strip()` */
export const strip = (text: string): string => stripEnd(text.replace(LEADING, ''));

/**
 * `str.capitalize()`
 *
 * @example
 * capitalize('the TV'); // => 'The tv'
 */
export function capitalize(text: string): string {
  const [first = ''] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** `len(str)`: code points. */
export const characters = (text: string): number => [...text].length;

/** `len(str.encode())` */
export const bytes = (text: string): number => new TextEncoder().encode(text).length;

/**
 * `len(re.split(r'\s+', text))`: words, and an empty one where whitespace begins or ends the text.
 *
 * @example
 * splitCount(' it was a day\n'); // => 6
 */
export const splitCount = (text: string): number => text.split(SPACES).length;
