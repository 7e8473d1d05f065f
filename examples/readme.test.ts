/**
 * Runs what the documents promise: the ```ts blocks of every README and of docs/, and the `@example` blocks of the sources.
 *
 * Each becomes a module of its own, in an empty folder beside which `examples/` lies; `expression; // => value` in it must come true.
 * A block with `no-run` behind its language is only for reading; one that names the embedded model wants it to be there.
 */
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

interface Block {
  /** File and line. */
  readonly title: string;
  readonly path: string;
  readonly code: string;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = join(root, 'examples/.blocks'); // inside the workspace, so that packages are found
const model = join(root, 'examples/tiny-llama/model/model.safetensors');

/** The blocks of a file that are to run. */
function blocksOf(path: string): Block[] {
  const text = readFileSync(join(root, path), 'utf8');
  const line = (index: number): number => text.slice(0, index).split('\n').length;
  const blocks = path.endsWith('.md')
    ? text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)
    : text.matchAll(/@example\n((?: +\*(?!\/).*\n)+)/g);
  return [...blocks]
    .map(({ 1: code = '', index }) => ({ title: `${path}:${line(index)}`, path, code: code.replace(/^ +\* ?/gm, '') }))
    .filter((block) => path.endsWith('.md') || block.code.includes('// =>'));
}

/** An example in a source may use, without importing it, what its file and its package export. */
async function importsFor({ path, code }: Block): Promise<string> {
  const [package_] = /^packages\/\w+\/src\//.exec(path) ?? [];
  if (!package_) return '';
  const used = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(code);
  const origins = new Map<string, string>();
  for (const file of [join(root, package_, 'index.ts'), join(root, path)]) {
    for (const name of Object.keys((await import(file)) as object).filter(used)) origins.set(name, file);
  }
  return [...origins].map(([name, file]) => `import { ${name} } from '${file}';\n`).join('');
}

/** A module that exports `checks`: pairs of what was got and what was promised. */
async function moduleOf(block: Block): Promise<string> {
  const checked = block.code
    .replace(/^(const|let) (\w+)(.*); \/\/ => (.*)$/gm, '$1 $2$3;\nchecks.push([$2, $4]);')
    .replace(/^(?!const |let |checks)(.*); \/\/ => (.*)$/gm, 'checks.push([($1), ($2)]);');
  return `${await importsFor(block)}export const checks: [unknown, unknown][] = [];\n${checked}`;
}

const plain = (value: unknown): unknown => (ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value);

describe('what documents promise comes true', () => {
  const paths = [
    'README.md',
    ...globSync('{docs,packages/*}/*.md', { cwd: root }),
    ...globSync('packages/*/src/**/*.ts', { cwd: root }),
  ];
  const blocks = paths.filter((path) => !/\.test(-d)?\.ts$/.test(path)).flatMap(blocksOf);
  const before = process.cwd();
  let folder = '';

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'blocks-'));
    symlinkSync(join(root, 'examples'), join(folder, 'examples'), 'dir');
    mkdirSync(modules, { recursive: true });
    process.chdir(folder);
  });
  afterAll(() => {
    process.chdir(before);
    for (const path of [folder, modules]) rmSync(path, { recursive: true, force: true });
  });

  test('there are some', () => expect(blocks.length).toBeGreaterThan(5));

  test.each(blocks)('$title', async (block) => {
    if (block.code.includes('examples/tiny-llama/model') && !existsSync(model))
      expect.fail('the embedded model is not there');
    const path = join(modules, `${block.title.replace(/\W+/g, '-')}.ts`);
    writeFileSync(path, await moduleOf(block));
    const { checks } = (await import(path)) as { checks: [unknown, unknown][] };
    for (const [got, promised] of checks) expect(plain(got)).toEqual(promised);
  });
});
