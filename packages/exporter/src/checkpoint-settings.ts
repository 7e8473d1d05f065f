/** What a checkpoint says of itself, and what the settings of a runtime take from it. */
import { ExportError } from './errors.ts';

export type Json = Readonly<Record<string, unknown>>;

/** What a checkpoint says of itself, for those who ask for it. */
export interface CheckpointSettings {
  /** `config.json` */
  readonly config: Json;
  /** `generation_config.json`, where there is one. */
  readonly generation?: Json;
}

/** @throws ExportError where they were not given. */
export function checkedSettings(settings: CheckpointSettings | undefined): CheckpointSettings {
  if (settings) return settings;
  throw new ExportError('settings', "the checkpoint's config.json", 'none', 'Give the option `settings`.');
}

/** The tokens that begin, end and fill a text, as far as a config names them. */
export const tokensOf = (config: Json): Json =>
  Object.fromEntries(
    ['bos_token_id', 'eos_token_id', 'pad_token_id'].flatMap((name) =>
      config[name] === undefined || config[name] === null ? [] : [[name, config[name]]],
    ),
  );

export const json = (value: Json): string => `${JSON.stringify(value, null, 2)}\n`;
