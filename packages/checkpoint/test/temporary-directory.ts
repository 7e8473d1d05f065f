import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A directory that is gone after the test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** The message of what a promise is rejected with, with `DIR` for the temporary directory. */
export async function messageOf(promise: Promise<unknown>, directory: string): Promise<string> {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (reason: Error) => reason,
  );
  return `${error.name}: ${error.message.replaceAll(directory, 'DIR')}`;
}
