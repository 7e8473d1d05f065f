/** What lies compiled in a folder, as a file there: for which chip, by which chain, from which graphs. */
import { createHash } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { DeviceError } from './errors.ts';
import { checkExported } from './exported-files.ts';
import type { ContextBinary, GraphFile } from './sdk-commands.ts';
import type { Soc } from './socs.ts';

export const COMPILED_FILE = 'compiled.json';

/** `qairt` and `qnn` are the SDK's tools (`compilePlan`), `onnxruntime` is the Python package (`compileContext`). */
export const CHAINS = ['qairt', 'qnn', 'onnxruntime'] as const;

export type Chain = (typeof CHAINS)[number];

export interface Compiled {
  readonly soc: string;
  readonly chain: Chain;
  readonly binaries: readonly ContextBinary[];
}

/** Notes what was compiled, last of all: a folder without the file holds nothing whole. */
export async function writeCompiled(
  folder: string,
  graphs: readonly GraphFile[],
  { soc, chain, binaries }: Omit<Compiled, 'soc'> & { readonly soc: Soc },
): Promise<void> {
  const models = await Promise.all(graphs.map(async ({ name, model }) => [name, await digestOf(model)] as const));
  const content = {
    soc: soc.name,
    chain,
    binaries: binaries.map(({ path, graphs: inside }) => ({ path: relative(folder, path), graphs: inside })),
    models: Object.fromEntries(models),
  };
  const path = join(folder, COMPILED_FILE);
  await writeFile(`${path}.partial`, `${JSON.stringify(content, undefined, 2)}\n`);
  await rename(`${path}.partial`, path);
}

/**
 * What was compiled from these graphs.
 *
 * @throws DeviceError for a folder without it, for another chip, and where the graphs are others now.
 */
export async function readCompiled(folder: string, graphs: readonly GraphFile[], soc: Soc): Promise<Compiled> {
  const path = join(folder, COMPILED_FILE);
  const fail = (expected: string, received: string, advice = `Compile for ${soc.name} again.`): never => {
    throw new DeviceError(path, expected, received, advice);
  };
  await checkExported(graphs);
  const text = await readFile(path, 'utf8').catch(() =>
    fail(
      `graphs compiled for ${soc.name}`,
      'no such file',
      `Run \`mobilequant device compile\` for ${soc.name} first.`,
    ),
  );
  const content = contentOf(text) ?? fail('what `device compile` writes', 'something else');
  if (content.soc !== soc.name) fail(`graphs compiled for ${soc.name}`, content.soc);
  for (const { name, model } of graphs) {
    const digest = await digestOf(model);
    if (content.models[name] !== digest) fail(`${model} as it was compiled`, 'another graph under that name');
  }
  const binaries = content.binaries.map(({ path, graphs }) => ({ path: join(folder, path), graphs }));
  return { soc: content.soc, chain: content.chain, binaries };
}

interface Content extends Compiled {
  /** SHA-256 of each graph's file: its encodings change with the model, so weights beside it need not be read. */
  readonly models: Readonly<Record<string, string>>;
}

/** The file may come from anywhere: a path must stay in its folder. */
function contentOf(text: string): Content | undefined {
  let content: Partial<Content> | null;
  try {
    content = JSON.parse(text);
  } catch {
    return undefined;
  }
  const isText = (value: unknown): value is string => typeof value === 'string';
  const { soc, chain, binaries, models } = content ?? {};
  const isBinary = ({ path, graphs }: Partial<ContextBinary>): boolean =>
    isText(path) && /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(path) && Array.isArray(graphs) && graphs.every(isText);
  const known = CHAINS.find((name) => name === chain);
  if (!isText(soc) || !known || !Array.isArray(binaries) || !binaries.every((binary) => binary && isBinary(binary)))
    return undefined;
  return { soc, chain: known, binaries, models: models ?? {} };
}

const digestOf = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
