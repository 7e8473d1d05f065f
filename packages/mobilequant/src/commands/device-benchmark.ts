/** `mobilequant device benchmark`: how fast compiled directories run on a phone, side by side. */
import { join, relative } from 'node:path';
import { type BenchmarkResult, benchmarkTable, comparisonTable, exportedGraphs, findSoc } from '@mobilequant/device';
import { benchmark, connectPhone, readCompiled } from '@mobilequant/device/node';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { type Command, checkStopped, command, pathFrom } from '../command.ts';
import { prefillTokens, writeNpuInputs } from '../npu-inputs.ts';
import { choice, flag, integer, text } from '../options.ts';
import { deviceOptions } from './device-options.ts';

const options = {
  ...deviceOptions,
  serial: text('ID', 'which phone, if there are several', undefined),
  repeat: integer('N', 'runs of each graph', 1, 1),
  inferences: integer('N', 'inferences of a run', 1, 100),
  'warm-up': integer('N', 'first inferences of a run, which are not counted', 0, 1),
  profiling: choice(['basic', 'detailed'], 'detailed counts the cycles of operators too, and takes time', 'basic'),
  remote: text('DIR', 'folder on the phone (default /data/local/tmp/mobilequant)', undefined),
  json: flag('print the result as one JSON object'),
};

const notes = `DIR is an exported directory that \`mobilequant device compile DIR --soc CHIP\` has compiled. Inputs, logs and profiles go to DIR/CHIP.
Energy is what the battery gives above an idle phone: connect over Wi-Fi, for a battery that is charged tells nothing.`;

export const deviceBenchmark: Command = command({
  name: 'device benchmark',
  summary: 'time compiled directories on a phone, side by side',
  positionals: ['DIR…'],
  options,
  notes,
  async run(values, names, surroundings) {
    const { print, status, signal } = surroundings;
    const soc = findSoc(values.soc);
    const runtime = nodeRuntime();
    const models: {
      name: string;
      out: string;
      compiled: Awaited<ReturnType<typeof readCompiled>>;
      directory: string;
    }[] = [];
    // What is missing is told before anything runs.
    for (const name of names) {
      const directory = pathFrom(surroundings, name);
      const out = join(directory, soc.name);
      await prefillTokens(directory);
      models.push({ name, directory, out, compiled: await readCompiled(out, exportedGraphs(directory), soc) });
    }
    const phone = await connectPhone({ signal, ...(values.serial !== undefined && { serial: values.serial }) });
    const results: { name: string; result: BenchmarkResult }[] = [];
    for (const { name, directory, out, compiled } of models) {
      checkStopped(signal);
      status(`${relative(surroundings.directory, directory) || name} on ${phone.serial}`);
      const graphs = await writeNpuInputs(runtime, directory, join(out, 'inputs'));
      // The SDK's converters rename inputs; their order stays.
      const named = compiled.chain === 'onnxruntime';
      const result = await benchmark(phone, {
        soc,
        binaries: compiled.binaries,
        graphs: graphs.map((graph) => ({
          ...graph,
          inputs: named ? graph.inputs : graph.inputs.map(({ path }) => ({ path })),
        })),
        out: join(out, 'benchmark'),
        repeat: values.repeat,
        inferences: values.inferences,
        warmUp: values['warm-up'],
        profiling: values.profiling,
        signal,
        ...(values.remote !== undefined && { remote: values.remote }),
        ...(values.sdk !== undefined && { sdk: pathFrom(surroundings, values.sdk) }),
      });
      results.push({ name, result });
    }
    const [only, ...others] = results as [(typeof results)[0], ...typeof results];
    if (values.json) print(JSON.stringify({ results: results.map(({ name, result }) => ({ name, ...result })) }));
    else print(others.length === 0 ? benchmarkTable(only.result, 'text') : comparisonTable(results, 'text'));
  },
});
