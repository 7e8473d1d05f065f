/** Where the model lies, and its text files. */
import { readFileSync, writeFileSync } from 'node:fs';

/** The Hugging Face directory of the trained model. */
export const MODEL: URL = new URL('./model/', import.meta.url);

export const readJson = (name: string): unknown => JSON.parse(readFileSync(new URL(name, MODEL), 'utf8'));

export const writeJson = (name: string, content: unknown): void =>
  writeFileSync(new URL(name, MODEL), `${JSON.stringify(content, null, 1)}\n`);
