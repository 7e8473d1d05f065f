/** `mobilequant device compile`: context binaries of an exported directory. */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  compilePlan,
  DeviceError,
  exportedGraphs,
  findSoc,
  type GraphFile,
  planScript,
  SDK_VARIABLE,
} from '@mobilequant/device';
import { CHAINS, checkExported, compileContext, runPlan, sdkRoot, writeCompiled } from '@mobilequant/device/node';
import { type Command, command, pathFrom } from '../command.ts';
import { describeContext } from '../describe-context.ts';
import { choice, flag, text, UsageError } from '../options.ts';
import { size } from '../progress.ts';
import { deviceOptions, pythonOption } from './device-options.ts';

const options = {
  ...deviceOptions,
  out: text('DIR', 'directory to write (default: one of the name of the chip, in DIR)', undefined),
  chain: choice(CHAINS, 'which compiler', 'qairt'),
  apart: flag('a binary for each graph, instead of one in which equal weights lie once'),
  'dry-run': flag("print the SDK's commands as a script, and do nothing"),
  python: pythonOption,
  json: flag('print the result as one JSON object'),
};

const notes = `qairt and qnn: the tools of Qualcomm's SDK, its current ones and those of older releases. onnxruntime: the Python package onnxruntime-qnn.
DIR is what export --target qnn-qdq or genai-qnn or, for the SDK, qnn-encodings wrote.`;

export const deviceCompile: Command = command({
  name: 'device compile',
  summary: 'compile an exported directory for a chip',
  positionals: ['DIR'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { chain, apart, json, 'dry-run': dryRun } = values;
    const { print, report, status, signal } = surroundings;
    const soc = findSoc(values.soc);
    const directory = pathFrom(surroundings, name as string);
    const out = values.out === undefined ? join(directory, soc.name) : pathFrom(surroundings, values.out);
    if (chain === 'onnxruntime') {
      if (dryRun) throw new UsageError(`--dry-run: expected the chain qairt or qnn, got '${chain}'.`);
      const made = await compileContext(directory, {
        soc,
        out,
        share: !apart,
        signal,
        onGraph: (graph) => status(`compile ${graph} for ${soc.name}`),
        ...(values.python !== undefined && { python: values.python }),
      });
      return print(json ? JSON.stringify({ soc: soc.name, chain, ...made }) : describeContext(made));
    }

    const graphs = exportedGraphs(directory).map(withEncodings);
    await checkExported(graphs);
    const sdk = values.sdk === undefined ? sdkRoot() : pathFrom(surroundings, values.sdk);
    const plan = compilePlan(graphs, { soc, sdk: sdk ?? SDK_VARIABLE, out, chain, shareWeights: !apart });
    if (dryRun) return print(json ? JSON.stringify({ soc: soc.name, chain, ...plan }) : planScript(plan));
    if (sdk === undefined) throw withoutSdk();
    const logs = join(out, 'logs');
    const binaries = await runPlan(plan, {
      sdk,
      logs,
      signal,
      onCommand: ({ tool }, i, log) => report(`${i + 1} of ${plan.commands.length}: ${tool}, log in ${log}`),
    });
    await writeCompiled(out, graphs, { soc, chain, binaries });
    const sizes = await Promise.all(
      binaries.map(async (binary) => ({ ...binary, bytes: (await stat(binary.path)).size })),
    );
    print(
      json
        ? JSON.stringify({ soc: soc.name, chain, binaries: sizes })
        : sizes.map(({ path, graphs: inside, bytes }) => `${path}: ${inside.join(', ')}, ${size(bytes)}`).join('\n'),
    );
  },
});

/** Graphs in float come with their encodings. */
function withEncodings(graph: GraphFile): GraphFile {
  const overrides = graph.model.replace(/onnx$/, 'encodings');
  return existsSync(overrides) ? { ...graph, overrides } : graph;
}

const withoutSdk = (): DeviceError =>
  new DeviceError(
    'device compile',
    "the folder of Qualcomm's SDK",
    'none',
    'Install the AI Engine Direct SDK (QAIRT) and let QNN_SDK_ROOT name its folder, the one that has bin and lib; --dry-run prints its commands. ' +
      '--chain onnxruntime compiles without it.',
  );
