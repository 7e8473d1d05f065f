/** A float model from a directory or the hub, with what goes with it. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { type Checkpoint, type DownloadProgress, openCheckpoint, resolveModel } from '@mobilequant/checkpoint/node';
import { checkedWeights, checkpointForm, type FloatModel, fromCheckpoint, parseConfig } from '@mobilequant/core';

/** A float model, its tensors still on disk. */
export interface Model extends FloatModel {
  /** The hub's name, or that of the directory: never a path. */
  readonly name: string;
  readonly checkpoint: Checkpoint;
}

export interface ReadModelOptions {
  /** What a relative path starts from. */
  readonly directory?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

/**
 * Opens a model by its directory or, if there is none, by its name on the Hugging Face hub.
 *
 * @throws CheckpointError, FormatError, ConfigError or WeightsError for what is not there, not in order, or not covered.
 */
export async function readModel(
  nameOrDirectory: string,
  { directory = '.', onProgress }: ReadModelOptions = {},
): Promise<Model> {
  const path = resolve(directory, nameOrDirectory);
  const local = existsSync(path);
  const checkpoint = await openCheckpoint(
    await resolveModel(local ? path : nameOrDirectory, onProgress ? { onProgress } : {}),
  );
  const config = parseConfig(checkpoint.config);
  const weights = checkedWeights(config, fromCheckpoint(checkpointForm(checkpoint.config), checkpoint.weights));
  return { name: local ? basename(path) : nameOrDirectory, config, weights, checkpoint };
}
