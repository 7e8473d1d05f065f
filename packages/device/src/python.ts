/**
 * A Python with ONNX Runtime's QNN provider, whose wheel has Qualcomm's compiler and an emulator of the NPU in it: no SDK, no phone.
 *
 * The scripts in `python/` run there as child processes, since the emulator may crash. A request goes in as one JSON object; answers
 * come out as one JSON object a line.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { DeviceError, printable } from './errors.ts';
import { capture, lastLines, type ProcessOptions } from './process.ts';

export interface PythonOptions extends ProcessOptions {
  /** The program. Default: what `MOBILEQUANT_PYTHON` names, else `python3`. */
  readonly python?: string;
}

/** The scripts that this package brings. */
export type Script = 'compile_context' | 'emulate';

export interface ScriptOptions extends PythonOptions {
  /** Called with each answer but the last. */
  readonly onProgress?: (progress: Readonly<Record<string, unknown>>) => void;
}

const folder = new URL('../python/', import.meta.url);

const VERSIONS = `
import importlib.metadata, json, sys
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))`;

const programOf = ({ python, env = process.env }: PythonOptions): string =>
  python ?? (env['MOBILEQUANT_PYTHON'] || 'python3');

/** What the scripts need, from the file that pins it: name → version. */
async function requirements(): Promise<Map<string, string>> {
  const lines = (await readFile(new URL('requirements.txt', folder), 'utf8')).split('\n');
  return new Map(lines.filter((line) => /^\w/.test(line)).map((line) => line.split('==') as [string, string]));
}

/**
 * Checks that Python and the packages are there, in the versions that this package was tested with.
 *
 * @throws DeviceError with the line that installs them.
 */
export async function checkPython(options: PythonOptions = {}): Promise<void> {
  const program = programOf(options);
  const wanted = await requirements();
  const pins = [...wanted].map(([name, version]) => `${name}==${version}`);
  const fail = (received: string, advice: string): never => {
    throw new DeviceError(program, `Python 3.11 with ${pins.join(', ')}`, received, advice);
  };
  const result = await capture(program, ['-c', VERSIONS, ...wanted.keys()], processOptions(options)).catch((error) => {
    if (!(error instanceof DeviceError)) throw error;
    const make = `python3.11 -m venv htp && htp/bin/pip install ${pins.join(' ')}`;
    return fail(
      'no program of that name that can be run',
      `Run \`${make}\` and let MOBILEQUANT_PYTHON name htp/bin/python.`,
    );
  });
  const found = result.code === 0 ? (JSON.parse(result.stdout) as Record<string, string | null>) : undefined;
  if (!found) return fail(`exit code ${result.code}`, `It said:\n${lastLines(result.stderr)}`);
  const others = [...wanted].filter(([name, version]) => found[name] !== version).map(([name]) => name);
  if (others.length === 0) return;
  const received = others.map((name) => (found[name] ? `${name} ${printable(found[name])}` : `no ${name}`)).join(', ');
  return fail(received, `Run \`${program} -m pip install ${pins.join(' ')}\` (Linux on x86-64).`);
}

/**
 * Runs a script.
 *
 * @param request as the head of the script has it.
 * @returns its result, as the head of the script has it.
 * @throws DeviceError for a Python without the packages, a graph that the NPU refuses, and a script that fails or crashes.
 */
export async function runScript<Result>(script: Script, request: object, options: ScriptOptions = {}): Promise<Result> {
  await checkPython(options);
  const answers: Answer[] = [];
  const result = await capture(programOf(options), [fileURLToPath(new URL(`${script}.py`, folder))], {
    ...processOptions(options),
    input: JSON.stringify(request),
    onLine(line) {
      const answer = JSON.parse(line) as Answer;
      if (answer.kind === 'progress') options.onProgress?.(answer);
      else answers.push(answer);
    },
  });
  const [answer] = answers;
  if (answer?.kind === 'refused') throw refused(answer);
  if (answer?.kind === 'result') return answer as Result;
  const received = result.signal ? `its end by ${result.signal}` : `exit code ${result.code}`;
  throw new DeviceError(`${script}.py`, 'a result', received, `It said:\n${lastLines(result.stderr)}`);
}

type Answer =
  | { readonly kind: 'progress' | 'result' }
  | { readonly kind: 'refused'; readonly graph: string; readonly error: string; readonly reasons?: readonly string[] };

function refused({ graph, error, reasons = [] }: Answer & { readonly kind: 'refused' }): DeviceError {
  const advice = reasons.length > 0 ? `The compiler says:\n${printable(reasons.join('\n'))}` : 'Export it again.';
  return new DeviceError(graph, 'a graph that the NPU takes whole', printable(error).slice(0, 600), advice);
}

/** Nothing is written beside the scripts. */
const processOptions = ({ env = process.env, signal }: PythonOptions): ProcessOptions => ({
  env: { ...env, PYTHONDONTWRITEBYTECODE: '1' },
  ...(signal && { signal }),
});
