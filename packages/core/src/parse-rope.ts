/**
 * What a `config.json` says of the rotary embedding. Two generations of keys: `rope_theta`, `rope_scaling` and
 * `partial_rotary_factor`; and `rope_parameters`, where transformers 5 has them all, by kind of layer where kinds differ.
 */
import { ConfigError, type RopeConfig } from './config.ts';
import { type ConfigReader, configReader } from './config-reader.ts';

const KINDS = { default: 'default', linear: 'linear', llama3: 'llama3' } as const;

/** The rotary embedding of layers that see everything. */
export function globalRope(read: ConfigReader, otherwise: number): RopeConfig {
  const parameters = read.inside('rope_scaling') ?? read.inside('rope_parameters') ?? configReader({});
  const full = parameters.inside('full_attention') ?? parameters;
  return ropeOf(full, read.positive('rope_theta', otherwise), read.json['max_position_embeddings']);
}

/** That of layers that slide, which is never scaled in the older form. */
export function slidingRope(read: ConfigReader): RopeConfig {
  const local = read.inside('rope_parameters')?.inside('sliding_attention');
  return local ? ropeOf(local, 10000) : { theta: read.positive('rope_local_base_freq', 10000) };
}

/** Channels of a head that turn: transformers truncates. */
export function rotaryDim(read: ConfigReader, headDim: number, otherwise: number): number {
  const factor =
    read.inside('rope_parameters')?.optional('partial_rotary_factor') ??
    read.positive('partial_rotary_factor', otherwise);
  if (factor > 1) throw new ConfigError('partial_rotary_factor', 'at most 1', factor);
  const turning = Math.trunc(headDim * factor);
  if (turning < 2) throw new ConfigError('partial_rotary_factor', `at least ${2 / headDim}`, factor);
  return turning;
}

/** For architectures whose heads turn as a whole. */
export function checkWholeHeadTurns(read: ConfigReader): void {
  const parameters = read.inside('rope_parameters');
  for (const at of [parameters, parameters?.inside('full_attention'), parameters?.inside('sliding_attention')]) {
    const factor = at?.optional('partial_rotary_factor', 1) ?? 1;
    if (factor !== 1) throw new ConfigError('rope_parameters.partial_rotary_factor', '1', factor);
  }
}

function ropeOf(read: ConfigReader, otherwise: number, maxPositions?: unknown): RopeConfig {
  const theta = read.positive('rope_theta', otherwise);
  const named = (key: string) => read.oneOf(key, KINDS, 'default');
  const kind = named(read.has('rope_type') ? 'rope_type' : 'type');
  if (read.has('rope_type') && read.has('type') && named('type') !== kind)
    throw new ConfigError('rope_scaling.type', `the same as rope_type, '${kind}'`, read.json['type']);
  if (kind === 'default') return { theta };
  if (kind === 'linear') return { theta, scaling: { kind, factor: read.positive('factor') } };
  const known = typeof maxPositions === 'number' ? maxPositions : undefined;
  return {
    theta,
    scaling: {
      kind,
      factor: read.positive('factor'),
      lowFrequencyFactor: read.positive('low_freq_factor'),
      highFrequencyFactor: read.positive('high_freq_factor'),
      originalMaxPositions: read.positive('original_max_position_embeddings', known),
    },
  };
}
