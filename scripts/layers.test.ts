import { describe, expect, test } from 'vitest';
import { importsOf, layerViolations } from './layers.ts';

const manifest = (name: string, dependencies: string[] = [], entries: string[] = ['.']): string =>
  JSON.stringify({
    name,
    dependencies: Object.fromEntries(dependencies.map((dependency) => [dependency, '*'])),
    exports: Object.fromEntries(
      entries.map((entry) => [entry, entry === '.' ? './src/index.ts' : `./src/${entry.slice(2)}.ts`]),
    ),
  });

/** A repository where everything is as it should be, with some files laid over it. */
const violations = (changes: Record<string, string>): string[] =>
  layerViolations(
    new Map(
      Object.entries({
        'package.json': JSON.stringify({ name: 'root', devDependencies: { vitest: '*' } }),
        'packages/graph/package.json': manifest('@mobilequant/graph', ['onnx-proto'], ['.', './node']),
        'packages/graph/src/index.ts': `export { encode } from './serde.ts';`,
        'packages/graph/src/serde.ts': `import onnxProto from 'onnx-proto';`,
        'packages/graph/src/node.ts': `import { open } from 'node:fs/promises';`,
        'packages/graph/src/serde.test.ts': `import onnxProto from 'onnx-proto';\nimport { test } from 'vitest';`,
        'packages/exporter/package.json': manifest('@mobilequant/exporter', ['@mobilequant/graph']),
        'packages/exporter/src/index.ts': `export { Graph } from '@mobilequant/graph';`,
        ...changes,
      }),
    ),
  );

describe('layers', () => {
  test('a repository that keeps them has no breach', () => expect(violations({})).toEqual([]));

  test('protobuf stays in one file', () => {
    expect(violations({ 'packages/graph/src/print.ts': `import onnxProto from 'onnx-proto';` })).toMatchInlineSnapshot(`
      [
        "packages/graph/src/print.ts: imports 'onnx-proto', which only ^packages\\/graph\\/src\\/serde\\.ts$ may. Go through that.",
      ]
    `);
  });

  test('the native runtime stays at the edge', () => {
    const found = violations({
      'packages/exporter/package.json': manifest('@mobilequant/exporter', ['onnxruntime-node']),
      'packages/exporter/src/run.ts': `import * as ort from 'onnxruntime-node';`,
      'packages/exporter/src/index.ts': '',
    });
    expect(found).toHaveLength(1);
    expect(found[0]).toContain("packages/exporter/src/run.ts: imports 'onnxruntime-node'");
  });

  test('a browser entry does not reach Node, however long the way', () => {
    const found = violations({
      'packages/graph/src/index.ts': `export {\n  a,\n} from './a.ts';`,
      'packages/graph/src/a.ts': `export type { B } from './passes/b.ts';`,
      'packages/graph/src/passes/b.ts': `import { c } from '../c.ts';`,
      'packages/graph/src/c.ts': `import { join } from 'node:path';`,
    });
    expect(found).toEqual([
      "packages/graph/src/c.ts: imports 'node:path', but '.' must load in a browser. Move it behind './node'.",
    ]);
  });

  test('nor through another package', () => {
    expect(
      violations({ 'packages/exporter/src/index.ts': `import { readModel } from '@mobilequant/graph/node';` }),
    ).toEqual([
      "packages/exporter/src/index.ts: imports '@mobilequant/graph/node', but '.' must load in a browser. Move it behind './node'.",
    ]);
  });

  test('the exporter does not know calibration, in sources or manifest', () => {
    const found = violations({
      'packages/exporter/package.json': manifest('@mobilequant/exporter', ['@mobilequant/calibration']),
      'packages/exporter/src/index.ts': `const { smooth } = await import('@mobilequant/calibration');`,
    });
    expect(found).toEqual([
      "packages/exporter/src/index.ts: imports '@mobilequant/calibration', to which no arrow of docs/architecture.md leads. Meet in a value instead.",
      "packages/exporter/package.json: depends on '@mobilequant/calibration', to which no arrow of docs/architecture.md leads. Remove it.",
    ]);
  });

  test('a package that registers something says that it has side effects', () => {
    const change = { 'packages/graph/src/index.ts': `import './serde.ts';` };
    expect(violations(change)).toEqual([]);
    const pure = JSON.stringify({
      name: '@mobilequant/graph',
      sideEffects: false,
      dependencies: { 'onnx-proto': '*' },
    });
    expect(violations({ ...change, 'packages/graph/package.json': pure })).toEqual([
      'packages/graph/src/index.ts: imports a file for its effect, but package.json has "sideEffects": false. Say true there.',
    ]);
  });

  test('what is imported is declared', () => {
    expect(violations({ 'packages/exporter/src/a.ts': `import { test } from 'vitest';` })).toEqual([
      "packages/exporter/src/a.ts: imports 'vitest', which packages/exporter/package.json does not declare. Add it there.",
    ]);
  });
});

test('imports are found in every form, and not in comments', () => {
  const text = [
    `import 'a';`,
    `import b, { type B } from 'b';`,
    `import type * as C from 'c';`,
    `export {\n  d, // of 'them'\n} from 'd';`,
    `const e = await import('e');`,
    ` * import { f } from 'f';`,
    `export const g = 'h';`,
  ].join('\n');
  expect(importsOf(text)).toEqual(['a', 'b', 'c', 'd', 'e'].sort((x, y) => x.localeCompare(y)));
});
