/** Every check but the tests, one after the other; says at the end which failed, and how long each took. */
import { spawnSync } from 'node:child_process';

const checks: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['types', 'tsc', '-p', 'tsconfig.check.json'],
  ['lint', 'biome', 'check', '--error-on-warnings', '.'],
  ['layers', 'node', 'scripts/check-layers.ts'],
  ['unused', 'knip', '--no-config-hints'],
  ['packages', 'node', 'scripts/check-packages.ts'],
];

const only = process.argv.slice(2);
const unknown = only.find((wanted) => !checks.some(([name]) => name === wanted));
if (unknown) throw new Error(`check: expected some of ${checks.map(([name]) => name).join(', ')}, got '${unknown}'.`);

const results = checks
  .filter(([name]) => only.length === 0 || only.includes(name))
  .map(([name, command, ...args]) => {
    console.log(`\n── ${name}`);
    const start = performance.now();
    const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
    if (error) console.error(error.message);
    return { name, passed: status === 0, seconds: (performance.now() - start) / 1000 };
  });

console.log();
for (const { name, passed, seconds } of results)
  console.log(`${passed ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`);
if (results.some(({ passed }) => !passed)) process.exitCode = 1;
