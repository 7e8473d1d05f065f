/**
 * Three projects: `unit` (behaviour, beside the code), `golden` (against data written by the reference implementation, which
 * `MOBILEQUANT_GOLDEN` names) and `types` (`*.test-d.ts`, checked by the compiler).
 *
 * A golden suite is a test that names the variable, wherever it lies. Without the variable it says that it is skipped;
 * `--mode golden` (`pnpm test:golden`) runs nothing else and wants the variable.
 */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

const VARIABLES = ['MOBILEQUANT_GOLDEN', 'MOBILEQUANT_SHARED'];

const suites = [
  'packages/*/{src,test}/**/*.test.ts',
  'examples/**/*.test.ts',
  'bench/**/*.test.ts',
  'scripts/**/*.test.ts',
];
const excluded = ['**/node_modules/**', '**/dist/**'];

const golden = globSync('packages/*/{src,test}/**/*.test.ts').filter((path) =>
  /MOBILEQUANT_(GOLDEN|SHARED)|from '.*\/golden[\w-]*\.ts'/.test(readFileSync(path, 'utf8')),
);

/** Folders that variables name are relative to where the command was typed, and must be there. */
for (const variable of VARIABLES) {
  const path = process.env[variable];
  if (!path) continue;
  const folder = resolve(process.env.INIT_CWD ?? '.', path);
  if (!existsSync(folder)) throw new Error(`${variable}: expected a folder, got ${folder}, which is not there.`);
  process.env[variable] = folder;
}

export default defineConfig(({ mode }) => {
  if (mode === 'golden' && !process.env.MOBILEQUANT_GOLDEN) {
    throw new Error(
      'test:golden: expected MOBILEQUANT_GOLDEN to name the folder of reference data, got nothing. ' +
        'Run it as `MOBILEQUANT_GOLDEN=DIR pnpm test:golden`.',
    );
  }
  const goldenProject = { extends: true as const, test: { name: 'golden', include: golden, exclude: excluded } };
  const otherProjects = [
    { extends: true as const, test: { name: 'unit', include: suites, exclude: [...excluded, ...golden] } },
    {
      extends: true as const,
      test: {
        name: 'types',
        include: [],
        typecheck: {
          enabled: true,
          only: true,
          include: ['packages/*/src/**/*.test-d.ts'],
          tsconfig: './tsconfig.check.json',
          ignoreSourceErrors: true, // they are `pnpm check:types`'s to tell
        },
      },
    },
  ];
  return {
    test: {
      projects: mode === 'golden' ? [goldenProject] : [...otherProjects, goldenProject],
      reporters: ['default', './scripts/counts-reporter.ts'],
      maxWorkers: 2,
      testTimeout: 60_000, // numerics on a small, busy machine
      hookTimeout: 120_000,
    },
  };
});
