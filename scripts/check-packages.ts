/**
 * Checks what a user would install: builds, packs every package of `packages/`, and looks at the tarballs only.
 *
 * publint and attw read each tarball; what must and must not be inside is a list below; and all tarballs, unpacked side by
 * side with the dependencies that they declare, must load under every name that they export and run as a command.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

interface Manifest {
  readonly name: string;
  readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** A packed package: where it came from, and what the tarball holds. */
interface Packed {
  readonly folder: string;
  readonly tarball: string;
  readonly unpacked: string;
  readonly manifest: Manifest;
}

const problems: string[] = [];
const work = mkdtempSync(join(tmpdir(), 'packages-'));
const modules = join(work, 'node_modules');

try {
  build();
  const packages = globSync('packages/*/package.json')
    .sort()
    .map((path) => pack(dirname(path)));
  for (const packed of packages) {
    lint(packed);
    checkContents(packed);
    checkManifest(packed);
    linkDependencies(packed);
  }
  for (const packed of packages) load(packed);
  for (const problem of problems) console.error(problem);
  console.log(`${packages.length} packages, ${problems.length} problems.`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
if (problems.length > 0) process.exitCode = 1;

/** A build from nothing, so that no file of a source that is gone is packed. */
function build(): void {
  for (const path of globSync('packages/*/{dist,tsconfig.tsbuildinfo}')) rmSync(path, { recursive: true });
  execFileSync('tsc', ['-b'], { stdio: 'inherit' });
}

function pack(folder: string): Packed {
  const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
  const tarball = join(work, `${name.replace('@', '').replace('/', '-')}.tgz`);
  pnpm(['pack', '--out', tarball], folder);
  const unpacked = join(modules, name);
  mkdirSync(unpacked, { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '-C', unpacked, '--strip-components=1']);
  return { folder, tarball, unpacked, manifest: JSON.parse(readFileSync(join(unpacked, 'package.json'), 'utf8')) };
}

/** The pnpm that runs this script, or the one on the path. */
function pnpm(args: readonly string[], cwd: string): void {
  const running = process.env.npm_execpath;
  const [command, first] = running?.match(/\.[cm]?js$/) ? [process.execPath, [running]] : [running ?? 'pnpm', []];
  execFileSync(command, [...first, ...args], { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
}

function lint({ tarball, manifest }: Packed): void {
  attempt(`${manifest.name}: publint`, 'publint', ['run', tarball, '--strict']);
  attempt(`${manifest.name}: attw`, 'attw', [tarball, '--profile', 'esm-only', '--no-color', '--no-emoji']);
}

function checkContents({ unpacked, manifest }: Packed): void {
  for (const file of ['LICENSE', 'README.md', 'dist', 'src']) {
    if (!existsSync(join(unpacked, file)))
      problems.push(`${manifest.name}: expected ${file} in the tarball, got none.`);
  }
  for (const file of globSync('**/*{.test.*,.test-d.*,.tsbuildinfo}', { cwd: unpacked })) {
    problems.push(`${manifest.name}: expected no tests in the tarball, got ${file}.`);
  }
}

function checkManifest({ unpacked, manifest }: Packed): void {
  const targets = [
    ...Object.values(manifest.exports).flatMap((entry) => Object.values(entry)),
    ...Object.values(manifest.bin ?? {}),
  ];
  for (const target of targets) {
    if (!/^(\.\/)?dist\//.test(target))
      problems.push(`${manifest.name}: expected what is exported to lie in dist, got ${target}.`);
    if (!existsSync(join(unpacked, target)))
      problems.push(`${manifest.name}: exports ${target}, which is not in the tarball.`);
  }
}

/** Puts the declared dependencies from outside beside the tarballs: those, and only those, can be imported. */
function linkDependencies({ folder, manifest }: Packed): void {
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    const link = join(modules, name);
    if (name === 'mobilequant' || name.startsWith('@mobilequant/') || existsSync(link)) continue;
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(realpathSync(join(folder, 'node_modules', name)), link, 'dir');
  }
}

function load({ unpacked, manifest }: Packed): void {
  for (const entry of Object.keys(manifest.exports)) {
    const specifier = join(manifest.name, entry);
    const script = `if (Object.keys(await import('${specifier}')).length === 0) throw new Error('exports nothing')`;
    attempt(`${manifest.name}: import '${specifier}'`, process.execPath, ['--input-type=module', '--eval', script]);
  }
  for (const [name, target] of Object.entries(manifest.bin ?? {})) {
    attempt(`${manifest.name}: ${name} --help`, process.execPath, [join(unpacked, target), '--help']);
  }
}

/** Runs a program in the folder of the tarballs; what it says is only shown when it fails. */
function attempt(what: string, program: string, args: readonly string[]): void {
  try {
    execFileSync(program, args, { cwd: work, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    problems.push(`${what} failed.\n${stdout ?? ''}${stderr ?? ''}`);
  }
}
