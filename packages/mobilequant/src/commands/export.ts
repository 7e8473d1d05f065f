/** `mobilequant export`: a quantized directory in, what a device runs out. */

import { findSoc } from '@mobilequant/device';
import {
  ENCODINGS_VERSIONS,
  genaiQnnTarget,
  genaiTarget,
  onnxTarget,
  qnnEncodingsTarget,
  qnnQdqTarget,
  transformersJsTarget,
} from '@mobilequant/exporter';
import { type Command, command, pathFrom } from '../command.ts';
import { describeContext } from '../describe-context.ts';
import { exportContext, qnnContextTarget } from '../export-context.ts';
import { exportDirectory } from '../export-directory.ts';
import { choice, flag, integer, text, texts, UsageError } from '../options.ts';
import { size } from '../progress.ts';
import { pythonOption } from './device-options.ts';

const TARGETS = [
  onnxTarget,
  transformersJsTarget,
  genaiTarget,
  genaiQnnTarget,
  qnnQdqTarget,
  qnnContextTarget,
  qnnEncodingsTarget,
];

/** Those whose texts have any length. */
const RUNTIMES: readonly string[] = [transformersJsTarget.name, genaiTarget.name];

export const exportCommand: Command = command({
  name: 'export',
  summary: 'export a quantized directory for a device',
  positionals: ['DIR'],
  options: {
    target: choice(
      TARGETS.map(({ name }) => name),
      'for what',
      onnxTarget.name,
    ),
    out: text('DIR', 'directory to write'),
    tokens: integer(
      'T',
      'tokens of the texts that the exported model takes (default 512, for an NPU 128, or what the model has)',
      1,
      undefined,
    ),
    context: integer(
      'C',
      'positions that a cache knows (default 4096, for an NPU 512, or what the model has or prefill needs)',
      2,
      undefined,
    ),
    'encodings-version': choice(
      ENCODINGS_VERSIONS,
      'qnn-encodings: of the files of encodings (default 1.0.0)',
      undefined,
    ),
    soc: texts('CHIP…', 'qnn-context: chips to compile for, each into a directory of its name (SM8650, …)'),
    python: pythonOption,
    json: flag('print the result as one JSON object'),
  },
  notes: TARGETS.map(({ name, description }) => `${name}: ${description}.`).join('\n'),
  async run(
    { target: name, out, tokens, context, 'encodings-version': version, soc, python, json },
    [from],
    surroundings,
  ) {
    const target = TARGETS.find((candidate) => candidate.name === name) ?? onnxTarget;
    if (context !== undefined && target === onnxTarget)
      throw new UsageError(`--context: expected a target with a cache, got '${target.name}'.`);
    if (tokens !== undefined && RUNTIMES.includes(target.name))
      throw new UsageError(`--tokens: expected a target for texts of one length, got '${target.name}'.`);
    if (version !== undefined && target !== qnnEncodingsTarget)
      throw new UsageError(
        `--encodings-version: expected the target ${qnnEncodingsTarget.name}, got '${target.name}'.`,
      );
    if (target !== qnnContextTarget && (soc.length > 0 || python !== undefined))
      throw new UsageError(`--soc, --python: expected the target ${qnnContextTarget.name}, got '${target.name}'.`);
    if (target === qnnContextTarget && soc.length === 0)
      throw new UsageError(`--soc: expected CHIP for the target ${target.name}, got nothing. It must be given.`);
    const directory = pathFrom(surroundings, out);
    const sizes = { ...(tokens !== undefined && { tokens }), ...(context !== undefined && { context }) };
    if (target === qnnContextTarget) {
      const { files, compiled } = await exportContext(pathFrom(surroundings, from as string), directory, {
        socs: soc.map(findSoc),
        ...sizes,
        ...(python !== undefined && { python }),
        signal: surroundings.signal,
        onGraph: ({ name: chip }, graph) => surroundings.status(`compile ${graph} for ${chip}`),
      });
      const chips = [...compiled].map(([chip, made]) => `${chip}:\n${describeContext(made)}`);
      surroundings.print(
        json
          ? JSON.stringify({
              directory,
              target: name,
              files: Object.fromEntries(files),
              compiled: Object.fromEntries(compiled),
            })
          : [`${directory}: ${name}`, ...chips].join('\n'),
      );
      return;
    }
    const files = await exportDirectory(pathFrom(surroundings, from as string), directory, {
      target,
      ...sizes,
      ...(version !== undefined && { version }),
    });
    const bytes = [...files.values()].reduce((sum, b) => sum + b, 0);
    surroundings.print(
      json
        ? JSON.stringify({ directory, target: name, bytes, files: Object.fromEntries(files) })
        : `${directory}: ${name}, ${size(bytes)}`,
    );
  },
});
