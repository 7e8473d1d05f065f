/** `mobilequant export`: a quantized directory in, what a device runs out. */
import { onnxTarget, qnnQdqTarget } from '@mobilequant/exporter';
import { type Command, command, pathFrom } from '../command.ts';
import { exportDirectory } from '../export-directory.ts';
import { choice, flag, integer, text, UsageError } from '../options.ts';
import { size } from '../progress.ts';

const TARGETS = [onnxTarget, qnnQdqTarget];

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
      'tokens of the texts that the exported model takes (default 512, qnn-qdq 128, or what the model has)',
      1,
      undefined,
    ),
    context: integer(
      'C',
      'qnn-qdq: positions that decode knows (default 512, or what the model has or prefill needs)',
      2,
      undefined,
    ),
    json: flag('print the result as one JSON object'),
  },
  notes: TARGETS.map(({ name, description }) => `${name}: ${description}.`).join('\n'),
  async run({ target: name, out, tokens, context, json }, [from], surroundings) {
    const target = TARGETS.find((candidate) => candidate.name === name) ?? onnxTarget;
    if (context !== undefined && target !== qnnQdqTarget)
      throw new UsageError(`--context: expected the target ${qnnQdqTarget.name}, got '${target.name}'.`);
    const directory = pathFrom(surroundings, out);
    const files = await exportDirectory(pathFrom(surroundings, from as string), directory, {
      target,
      ...(tokens !== undefined && { tokens }),
      ...(context !== undefined && { context }),
    });
    const bytes = [...files.values()].reduce((sum, b) => sum + b, 0);
    surroundings.print(
      json
        ? JSON.stringify({ directory, target: name, bytes, files: Object.fromEntries(files) })
        : `${directory}: ${name}, ${size(bytes)}`,
    );
  },
});
