/** `mobilequant encodings`: a file of encodings from one version of AIMET's format to another. */
import { writeFileAtomic } from '@mobilequant/checkpoint/node';
import {
  defaultFacts,
  ENCODINGS_VERSIONS,
  type EncodingsFile,
  encodingsJson,
  parseEncodings,
  tensorFacts,
} from '@mobilequant/exporter';
import { readModel } from '@mobilequant/graph/node';
import { type Command, command, pathFrom } from '../command.ts';
import { fromFile, readText } from '../file-error.ts';
import { choice, flag, text } from '../options.ts';

const options = {
  to: choice(ENCODINGS_VERSIONS, 'version to write', '1.0.0'),
  out: text('FILE', 'file to write'),
  model: text('FILE', 'ONNX model that the encodings belong to', undefined),
  'omit-floats': flag('leave out tensors in floating point, for which 2.0.0 and 2.1.0 have no word'),
  json: flag('print the result as one JSON object'),
};

const notes = `FILE is of one of these versions, of 0.4.0 or of 0.5.0. Up to 1.0.0 no axis is said, and from 2.0.0 on not which tensors are parameters:
both come from --model. Without it, channels lie on axis 0, and parameters are those with more than one scale, and symmetric ones.
What a version cannot say is refused by name, and nothing is written.`;

export const encodings: Command = command({
  name: 'encodings',
  summary: 'convert AIMET encodings between versions',
  positionals: ['FILE'],
  options,
  notes,
  async run({ to, out, model, 'omit-floats': omitFloats, json }, [from], surroundings) {
    const { print, report } = surroundings;
    const path = pathFrom(surroundings, out);
    const source = await readText(pathFrom(surroundings, from as string));
    const { file, guessed } =
      model === undefined
        ? parseGuessing(source)
        : {
            file: parseEncodings(source, tensorFacts(await fromFile(pathFrom(surroundings, model), readModel))),
            guessed: {},
          };
    const content = encodingsJson(file, { version: to, omitFloats });
    await writeFileAtomic(path, content);

    const tells = { axes: to >= '2', params: to < '2' }; // by the text: versions have one digit before the dot
    if (guessed.axes && tells.axes) report('Channels are taken to lie on axis 0; --model says where they do.');
    if (guessed.params && tells.params) report('Which tensors are parameters is a guess; --model says which are.');
    const floats = [...file.activations.values(), ...file.params.values()].filter(
      ({ kind }) => kind === 'float',
    ).length;
    if (omitFloats && floats > 0) report(`${floats} tensors in floating point are left out.`);
    const [activations, params] = [file.activations.size, file.params.size];
    print(
      json
        ? JSON.stringify({ file: path, version: to, activations, params, omitted: omitFloats ? floats : 0 })
        : `${path}: ${to}, ${activations} activations, ${params} parameters`,
    );
  },
});

/** Reads without a model, and says what had to be guessed. */
function parseGuessing(source: string): { file: EncodingsFile; guessed: { axes?: boolean; params?: boolean } } {
  const guessed: { axes?: boolean; params?: boolean } = {};
  const { isParam, axisOf } = defaultFacts;
  const file = parseEncodings(source, {
    axisOf(name) {
      guessed.axes = true;
      return axisOf(name);
    },
    isParam(encoding) {
      guessed.params = true;
      return isParam(encoding);
    },
  });
  return { file, guessed };
}
