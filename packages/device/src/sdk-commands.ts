/**
 * How an exported directory becomes context binaries, as data: the commands of Qualcomm's SDK, and the files that they read.
 *
 *     qairt     qairt-converter      →  qairt-quantizer          ┐
 *                                                                 ├→  qnn-context-binary-generator
 *     qnn       qnn-onnx-converter   →  qnn-model-lib-generator  ┘
 *
 * The first is the SDK's current way, the second that of older releases. Nothing runs here: `runPlan` carries a plan out.
 */
import { DeviceError } from './errors.ts';
import { type HtpOptions, htpCompileConfig, jsonText, toolConfig } from './htp-config.ts';
import type { Soc } from './socs.ts';

/** A graph to compile. */
export interface GraphFile {
  /** Its name on the device: letters, digits, `_`. */
  readonly name: string;
  /** ONNX file with QuantizeLinear and DequantizeLinear, which the converters take as encodings. */
  readonly model: string;
  /** Encodings that come on top of these, as JSON. */
  readonly overrides?: string;
  /**
   * A list of files with inputs, in float32, by which ranges are found for tensors that have no encoding. Without it such tensors stay in
   * float; a graph of integers has none.
   */
  readonly inputList?: string;
}

/** A program of the SDK with its arguments. */
export interface SdkCommand {
  readonly tool: SdkTool;
  readonly args: readonly string[];
  /** Files that are there when it is done. */
  readonly writes: readonly string[];
  /** Which of its arguments says where: the file, or the folder, that it writes. */
  readonly target: string;
}

export type SdkTool =
  | 'qairt-converter'
  | 'qairt-quantizer'
  | 'qnn-onnx-converter'
  | 'qnn-model-lib-generator'
  | 'qnn-context-binary-generator';

/** A compiled file, and the graphs in it, in their order. */
export interface ContextBinary {
  readonly path: string;
  readonly graphs: readonly string[];
}

export interface CompilePlan {
  /** Written before anything runs. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
  readonly commands: readonly SdkCommand[];
  /** What will be there in the end. */
  readonly binaries: readonly ContextBinary[];
}

/** The SDK's name of a computer with Linux on x86-64. */
export const DEFAULT_HOST = 'x86_64-linux-clang';

export interface CompileOptions extends Omit<HtpOptions, 'soc' | 'graphs'> {
  readonly soc: Soc;
  /** The SDK's folder, as `QNN_SDK_ROOT` has it. */
  readonly sdk: string;
  /** Where everything is written. */
  readonly out: string;
  /** Default `qairt`. */
  readonly chain?: 'qairt' | 'qnn';
  /** One binary for all graphs, in which equal weights lie once, instead of one for each. Default true. */
  readonly shareWeights?: boolean;
  /** Folder of the computer's programs and libraries in the SDK. Default `x86_64-linux-clang`. */
  readonly host?: string;
  /** More arguments for a tool, behind its own. */
  readonly extra?: Readonly<Partial<Record<SdkTool, readonly string[]>>>;
}

/** The graphs that `export --target qnn-qdq` writes for the NPU. */
export const exportedGraphs = (directory: string): GraphFile[] =>
  ['prefill', 'decode'].map((name) => ({ name, model: `${directory}/${name}.onnx` }));

/**
 * The plan that compiles graphs for a chip.
 *
 * @throws DeviceError for no graphs, for names that are not distinct or not simple, and for paths that a tool's list would split.
 */
export function compilePlan(graphs: readonly GraphFile[], options: CompileOptions): CompilePlan {
  checkNames(graphs);
  checkPath(options.out);
  checkPath(options.sdk);
  const { shareWeights = true, chain = 'qairt', extra = {} } = options;
  const compile = chain === 'qairt' ? qairtCommands : qnnCommands;
  const binaries = shareWeights
    ? [{ name: 'model', graphs }]
    : graphs.map((graph) => ({ name: graph.name, graphs: [graph] }));
  const links = binaries.map((binary) => contextBinary(binary.name, binary.graphs, { ...options, chain }));
  const commands = [...graphs.flatMap((graph) => compile(graph, options)), ...links.map(({ command }) => command)];
  return {
    files: links.flatMap(({ files }) => files),
    commands: commands.map((command) => ({ ...command, args: [...command.args, ...(extra[command.tool] ?? [])] })),
    binaries: links.map(({ binary }) => binary),
  };
}

/** The graph's name on the device is the name of the file that it comes from, so both files have it. */
function qairtCommands({ name, model, overrides, inputList }: GraphFile, { out }: CompileOptions): SdkCommand[] {
  const converted = `${out}/converted/${name}.dlc`;
  const quantized = `${out}/quantized/${name}.dlc`;
  const encodings = overrides === undefined ? [] : ['--quantization_overrides', overrides];
  return [
    {
      tool: 'qairt-converter',
      args: ['--input_network', model, '--output_path', converted, '--target_backend', 'HTP', ...encodings],
      writes: [converted],
      target: converted,
    },
    {
      tool: 'qairt-quantizer',
      args: ['--input_dlc', converted, '--output_dlc', quantized, ...gaps(inputList)],
      writes: [quantized],
      target: quantized,
    },
  ];
}

function qnnCommands({ name, model, overrides, inputList }: GraphFile, options: CompileOptions): SdkCommand[] {
  const { out } = options;
  const source = `${out}/converted/${name}.cpp`;
  const weights = `${out}/converted/${name}.bin`;
  const libraries = `${out}/libraries`;
  const encodings = overrides === undefined ? [] : ['--quantization_overrides', overrides];
  return [
    {
      tool: 'qnn-onnx-converter',
      args: [
        ...['--input_network', model, '--output_path', source],
        ...['--preserve_io', 'layout', ...encodings, ...gaps(inputList)], // or inputs of rank 3 and 4 would have other axes
      ],
      writes: [source, weights],
      target: source,
    },
    {
      tool: 'qnn-model-lib-generator',
      args: ['-c', source, '-b', weights, '-l', name, '-t', hostOf(options), '-o', libraries],
      writes: [modelLibrary(name, options)],
      target: libraries,
    },
  ];
}

/** What becomes of tensors without an encoding; the tools refuse to be told both. */
const gaps = (inputList: string | undefined): string[] =>
  inputList === undefined ? ['--float_fallback'] : ['--input_list', inputList];

const hostOf = ({ host = DEFAULT_HOST }: CompileOptions): string => host;
const modelLibrary = (name: string, options: CompileOptions): string =>
  `${options.out}/libraries/${hostOf(options)}/lib${name}.so`;

function contextBinary(name: string, graphs: readonly GraphFile[], options: CompileOptions) {
  const { out, sdk, chain, soc, vtcm, hvxThreads, optimization } = options;
  const library = (file: string): string => `${sdk}/lib/${hostOf(options)}/${file}`;
  const names = graphs.map((graph) => graph.name);
  const htpFile = `${out}/${name}-htp.json`;
  const toolFile = `${out}/${name}-tool.json`;
  const htp: HtpOptions = {
    soc,
    graphs: names,
    ...(vtcm === undefined ? {} : { vtcm }),
    ...(hvxThreads === undefined ? {} : { hvxThreads }),
    ...(optimization === undefined ? {} : { optimization }),
  };
  const models =
    chain === 'qairt'
      ? [
          '--model',
          library('libQnnModelDlc.so'),
          '--dlc_path',
          names.map((graph) => `${out}/quantized/${graph}.dlc`).join(','),
        ]
      : ['--model', names.map((graph) => modelLibrary(graph, options)).join(',')];
  const target = `${out}/context`;
  const path = `${target}/${name}.bin`;
  const command: SdkCommand = {
    tool: 'qnn-context-binary-generator',
    args: [
      ...['--backend', library('libQnnHtp.so'), ...models],
      ...['--binary_file', name, '--output_dir', target, '--config_file', toolFile], // the tool adds .bin to the name
    ],
    writes: [path],
    target,
  };
  const files = [
    { path: htpFile, text: jsonText(htpCompileConfig(htp)) },
    { path: toolFile, text: jsonText(toolConfig(library('libQnnHtpNetRunExtensions.so'), htpFile)) },
  ];
  return { command, files, binary: { path, graphs: names } };
}

function checkNames(graphs: readonly GraphFile[]): void {
  const names = graphs.map(({ name }) => name);
  const wrong = names.find((name) => !/^[A-Za-z_]\w*$/.test(name));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (names.length > 0 && wrong === undefined && twice === undefined) return;
  const received = names.length === 0 ? 'none' : wrong !== undefined ? `'${wrong}'` : `'${twice}' twice`;
  throw new DeviceError(
    'graphs to compile',
    'distinct names of letters, digits and _',
    received,
    'Name each graph, as `prefill` and `decode`.',
  );
}

function checkPath(path: string): void {
  if (path !== '' && !/[,\r\n]/.test(path)) return;
  throw new DeviceError(
    'graphs to compile',
    'a path without commas or line ends',
    `'${path}'`,
    'The tools split lists of files there: choose another folder.',
  );
}
