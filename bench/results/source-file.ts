/** The file of a source: as it is, a part of it, or text that the example's generator writes. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { generateText, SPLITS } from '../../examples/tiny-llama/generator.ts';
import { ConfigError } from './config.ts';

/**
 * Where the text of a source lies; what has to be made for that is written to `folder`, under a name of its own.
 *
 * @param every of a `.jsonl` file, take every so many-th document
 * @throws ConfigError for a part of a file of another kind, or a split that the generator does not have.
 */
export async function sourceFile(source: string, folder: string, every = 1): Promise<string> {
  const made = (name: string, text: () => string | Promise<string>) => writeOnce(join(folder, name), text);
  const [kind, split, characters] = source.split(':');
  if (kind === 'tiny-llama') {
    const seed = SPLITS[split as keyof typeof SPLITS];
    if (seed === undefined || !(Number(characters) > 0))
      throw new ConfigError(
        source,
        'tiny-llama:SPLIT:CHARACTERS',
        source,
        `Splits are ${Object.keys(SPLITS).join(', ')}.`,
      );
    return made(`tiny-llama-${split}-${characters}.txt`, () => generateText({ seed, characters: Number(characters) }));
  }
  if (every === 1) return source;
  if (!source.endsWith('.jsonl'))
    throw new ConfigError(source, 'a .jsonl file of documents', 'another', 'Leave "every" out.');
  const from = createHash('sha256').update(source).digest('hex').slice(0, 8);
  return made(`${basename(source, '.jsonl')}-${every}-${from}.jsonl`, async () =>
    everyDocument(await readFile(source, 'utf8'), every),
  );
}

/** Every so many-th line that is not empty, from the first. */
export const everyDocument = (lines: string, every: number): string =>
  lines
    .split('\n')
    .filter((line) => line.trim() !== '')
    .filter((_, i) => i % every === 0)
    .join('\n');

async function writeOnce(path: string, text: () => string | Promise<string>): Promise<string> {
  if (!existsSync(path)) {
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, await text());
  }
  return path;
}
