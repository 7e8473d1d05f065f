/** Runs the README and every `@example`: each `expression; // => value` must come true. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as quantizer from '../src/index.ts';
import { parseRecipe } from '../src/index.ts';

const at = (path: string) => new URL(`../${path}`, import.meta.url);
const read = (path: string) => readFileSync(at(path), 'utf8');

/** Runs lines of JavaScript with the public API in scope; returns pairs of what was got and what was promised. */
function run(code: string): [got: unknown, promised: unknown][] {
  const body = code
    .replace(/^import [^;]*;$/gm, '')
    .replace(/^(.*); \/\/ => (.*)$/gm, (_, got, promised) => `checks.push([(${got}), (${promised})]);`);
  const checks: [unknown, unknown][] = [];
  new Function('checks', ...Object.keys(quantizer), body)(checks, ...Object.values(quantizer));
  return checks.map(([got, promised]) => [ArrayBuffer.isView(got) ? Array.from(got as Uint8Array) : got, promised]);
}

test('the README does what it says', () => {
  const code = /```js\n([\s\S]*?)```/.exec(read('README.md'))?.[1] ?? '';
  const checks = run(code);
  expect(checks.length).toBe(4);
  for (const [got, promised] of checks) expect(got).toEqual(promised);
});

test('the README’s recipe is one, and lists every function', () => {
  const readme = read('README.md');
  const recipe = parseRecipe(JSON.parse(/```json\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''));
  expect(quantizer.unusedRules(recipe, quantizer.decoderSites(1))).toEqual([]);
  const functions = Object.entries(quantizer).filter(([, value]) => typeof value === 'function');
  for (const [name] of functions) expect(readme).toContain(`\`${name}\``);
});

describe('examples in the sources', () => {
  const examples = readdirSync(at('src'))
    .filter((file) => file.endsWith('.ts') && !file.includes('.test'))
    .flatMap((file) =>
      [...read(`src/${file}`).matchAll(/@example\n((?: \* .*\n)+)/g)].map((match) => ({
        file,
        code: (match[1] as string).replace(/^ \* /gm, ''),
      })),
    );
  test('there are some', () => expect(examples.length).toBeGreaterThan(7));
  test.each(examples)('$file', ({ code }) => {
    const checks = run(code);
    expect(checks.length).toBeGreaterThan(0);
    for (const [got, promised] of checks) expect(got).toEqual(promised);
  });
});
