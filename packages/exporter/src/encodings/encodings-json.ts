/** Writes encodings files: a line for each tensor, in the order of names. */
import { EncodingsError } from './encodings-error.ts';
import { checkEncoding, type EncodingsFile, type TensorEncoding } from './tensor-encoding.ts';
import { writeVersion0 } from './version-0.ts';
import { writeVersion1 } from './version-1.ts';
import { writeVersion2 } from './version-2.ts';

/** What is written; 0.4.0 and 0.5.0 are only read. */
export const ENCODINGS_VERSIONS = ['0.6.1', '1.0.0', '2.0.0', '2.1.0'] as const;

export type EncodingsVersion = (typeof ENCODINGS_VERSIONS)[number];

export interface EncodingsJsonOptions {
  /** Default 1.0.0, which all converters read. */
  readonly version?: EncodingsVersion;
  /** Leave out tensors in floating point, which 2.0.0 and 2.1.0 have no word for: what is not there stays float. */
  readonly omitFloats?: boolean;
}

/**
 * A file's text.
 *
 * @throws EncodingsError, with the tensor's name, for what the version cannot say.
 */
export function encodingsJson(
  file: EncodingsFile,
  { version = '1.0.0', omitFloats = false }: EncodingsJsonOptions = {},
): string {
  const [activations, params] = [file.activations, file.params].map((group) =>
    [...group.values()].filter(({ kind }) => kind === 'integer' || !omitFloats).sort(byName),
  ) as [TensorEncoding[], TensorEncoding[]];
  const all = [...activations, ...params].sort(byName);
  for (const [i, encoding] of all.entries()) {
    if (encoding.kind === 'integer') checkEncoding(encoding, encoding.name);
    if (all[i + 1]?.name === encoding.name)
      throw new EncodingsError(encoding.name, 'one encoding', 'two', 'Remove one from activations or params.');
  }
  const { quantizerArgs = {}, excludedLayers = [] } = file;
  switch (version) {
    case '0.6.1': {
      const object = (group: readonly TensorEncoding[]): string =>
        lines(
          '{',
          group.map((encoding) => `${JSON.stringify(encoding.name)}: ${JSON.stringify(writeVersion0(encoding))}`),
          '}',
          '  ',
        );
      return fileOf(version, {
        activation_encodings: object(activations),
        param_encodings: object(params),
        quantizer_args: JSON.stringify(quantizerArgs),
      });
    }
    case '1.0.0':
      return fileOf(version, {
        activation_encodings: list(activations.map(writeVersion1)),
        param_encodings: list(params.map(writeVersion1)),
        quantizer_args: JSON.stringify(quantizerArgs),
        excluded_layers: JSON.stringify(excludedLayers),
      });
    case '2.0.0':
    case '2.1.0':
      return fileOf(version, { encodings: list(all.map((encoding) => writeVersion2(encoding, version))) });
    default:
      throw new Error(`unknown version ${JSON.stringify(version satisfies never)}`);
  }
}

/** The same in every language. */
const byName = (a: TensorEncoding, b: TensorEncoding): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

const list = (entries: readonly object[]): string =>
  lines(
    '[',
    entries.map((entry) => JSON.stringify(entry)),
    ']',
    '  ',
  );

const lines = (open: string, entries: readonly string[], close: string, indent: string): string =>
  entries.length === 0
    ? open + close
    : `${open}\n${entries.map((entry) => `${indent}  ${entry}`).join(',\n')}\n${indent}${close}`;

const fileOf = (version: EncodingsVersion, parts: Readonly<Record<string, string>>): string => {
  const fields = Object.entries({ version: JSON.stringify(version), ...parts });
  return `${lines(
    '{',
    fields.map(([name, text]) => `${JSON.stringify(name)}: ${text}`),
    '}',
    '',
  )}\n`;
};
