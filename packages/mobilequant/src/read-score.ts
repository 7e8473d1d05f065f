/** What `mobilequant evaluate --json` printed, from a file. */
import { type JsonObject, readJson } from '@mobilequant/checkpoint/node';
import type { Score } from '@mobilequant/report';
import { fromFile } from './file-error.ts';

/** A file that does not hold a result of `evaluate`. */
export class ScoreError extends Error {
  override readonly name = 'ScoreError';

  constructor(file: string, expected: string, received: unknown) {
    super(
      `${file}: expected ${expected}, got ${JSON.stringify(received) ?? 'nothing'}. Write it by \`evaluate --json\`.`,
    );
  }
}

/** @throws FileError where there is no file; ScoreError for a field that is missing or no finite number; FormatError for what is no JSON. */
export async function readScore(file: string): Promise<Score> {
  const json = await fromFile(file, readJson);
  const number = (from: JsonObject, name: string): number => {
    const value = from[name];
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw new ScoreError(file, `a number '${name}'`, value);
  };
  const text = (from: JsonObject, name: string): string => {
    const value = from[name];
    if (typeof value === 'string') return value;
    throw new ScoreError(file, `a text '${name}'`, value);
  };
  const { comparison } = json;
  const score = {
    form: text(json, 'form'),
    perplexity: number(json, 'tokenPerplexity'),
    windows: number(json, 'windows'),
  };
  if (comparison === undefined) return score;
  if (typeof comparison !== 'object' || comparison === null || Array.isArray(comparison))
    throw new ScoreError(file, 'a comparison', comparison);
  const own = comparison as JsonObject;
  return {
    ...score,
    comparison: {
      with: text(own, 'with'),
      perplexity: number(own, 'tokenPerplexity'),
      ratio: number(own, 'ratio'),
      ...(own['standardError'] !== undefined && { standardError: number(own, 'standardError') }),
      divergence: number(own, 'divergence'),
      agreement: number(own, 'agreement'),
    },
  };
}
