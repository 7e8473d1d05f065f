/** Checks the repository against the rules in layers.ts; prints every breach. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { type Files, layerViolations } from './layers.ts';

const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { encoding: 'utf8' });
const files: Files = new Map(
  listed
    .split('\n')
    .filter((path) => /\.ts$|(^|\/)package\.json$/.test(path) && existsSync(path))
    .map((path) => [path, readFileSync(path, 'utf8')]),
);

const violations = layerViolations(files);
for (const violation of violations) console.error(violation);
console.log(`${files.size} files, ${violations.length} breaches of the layers.`);
if (violations.length > 0) process.exitCode = 1;
