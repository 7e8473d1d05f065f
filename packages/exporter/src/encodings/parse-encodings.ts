/** Encodings files as AIMET writes and QNN's converters read them, in any version. */
import { EncodingsError } from './encodings-error.ts';
import { type JsonObject, listAt, objectAt, oneOfAt } from './json-fields.ts';
import type { EncodingsFile, TensorEncoding } from './tensor-encoding.ts';
import { defaultFacts, type TensorFacts } from './tensor-facts.ts';
import { readVersion0 } from './version-0.ts';
import { readVersion1 } from './version-1.ts';
import { readVersion2 } from './version-2.ts';

const VERSIONS = ['0.4.0', '0.5.0', '0.6.1', '1.0.0', '2.0.0', '2.1.0'] as const;

const GROUPS = ['activation_encodings', 'param_encodings'] as const;

/**
 * Reads a file, as text or as parsed JSON; without a version it is 0.4.0.
 *
 * @param facts what the file leaves out; of a model: `tensorFacts(graph)`.
 * @throws EncodingsError for whatever is not in order, with its place.
 * @example
 * parseEncodings({ version: '2.0.0', encodings: [{ name: 'x', output_dtype: 'uint8', y_scale: 0.5, y_zero_point: 3 }] }).activations.size; // => 1
 */
export function parseEncodings(source: unknown, facts: TensorFacts = {}): EncodingsFile {
  const file = objectAt(typeof source === 'string' ? parsed(source) : source, 'the file');
  const version = oneOfAt(file['version'] ?? '0.4.0', 'version', VERSIONS, 'Other versions are not known.');
  if (version === '2.0.0' || version === '2.1.0') {
    const { isParam = defaultFacts.isParam } = facts;
    const all = listAt(file['encodings'], 'encodings').map((entry, i) =>
      readVersion2(entry, `encodings[${i}]`, version),
    );
    return named(
      all.filter((encoding) => !isParam(encoding)),
      all.filter(isParam),
    );
  }
  if (GROUPS.every((group) => file[group] === undefined))
    throw new EncodingsError(
      'the file',
      GROUPS.join(' and '),
      Object.keys(file).join(', ') || 'nothing',
      'Give an encodings file.',
    );
  const [activations, params] = GROUPS.map((group) =>
    version === '1.0.0' ? listOf(file, group, facts) : objectOf(file, group, facts),
  ) as [TensorEncoding[], TensorEncoding[]];
  const { quantizer_args: args, excluded_layers: excluded } = file;
  return {
    ...named(activations, params),
    ...(args !== undefined && { quantizerArgs: objectAt(args, 'quantizer_args') }),
    ...(excluded !== undefined && { excludedLayers: listAt(excluded, 'excluded_layers') }),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new EncodingsError('the file', 'JSON', (cause as Error).message, 'Encodings files are JSON.', { cause });
  }
}

const listOf = (file: JsonObject, group: string, facts: TensorFacts): TensorEncoding[] =>
  listAt(file[group] ?? [], group).map((entry, i) => readVersion1(entry, `${group}[${i}]`, facts));

const objectOf = (file: JsonObject, group: string, facts: TensorFacts): TensorEncoding[] =>
  Object.entries(objectAt(file[group] ?? {}, group, 'Lists are those of 1.0.0: say the version.')).map(([name, list]) =>
    readVersion0(list, name, `${group}.${name}`, facts),
  );

/** By name; no tensor has two encodings. */
function named(activations: readonly TensorEncoding[], params: readonly TensorEncoding[]): EncodingsFile {
  const seen = new Set<string>();
  for (const { name } of [...activations, ...params]) {
    if (seen.has(name)) throw new EncodingsError(name, 'one encoding', 'two', 'Remove the one that is wrong.');
    seen.add(name);
  }
  const byName = (list: readonly TensorEncoding[]) => new Map(list.map((encoding) => [encoding.name, encoding]));
  return { activations: byName(activations), params: byName(params) };
}
