/** Whether what is to be compiled or run is there. */
import { stat } from 'node:fs/promises';
import { DeviceError } from './errors.ts';
import type { GraphFile } from './sdk-commands.ts';

/** @throws DeviceError for graphs that are no files. */
export async function checkExported(graphs: readonly GraphFile[]): Promise<void> {
  for (const { model } of graphs) {
    const isFile = await stat(model).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (!isFile)
      throw new DeviceError(model, 'an exported graph', 'no such file', 'Export with --target qnn-qdq first.');
  }
}
