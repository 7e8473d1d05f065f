/** Where the programs of Qualcomm's SDK and of Android lie on this computer. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { DeviceError } from './errors.ts';
import { DEFAULT_HOST } from './sdk-commands.ts';

export interface ToolOptions {
  /** Default: that of this process. */
  readonly env?: NodeJS.ProcessEnv;
  /** The SDK's folder. Default: `QNN_SDK_ROOT`, or `QAIRT_SDK_ROOT`. */
  readonly sdk?: string;
  /** Folder of the computer's programs and libraries in the SDK. Default `x86_64-linux-clang`. */
  readonly host?: string;
}

const SDK_ADVICE =
  "Install Qualcomm's AI Engine Direct SDK (QAIRT) and let QNN_SDK_ROOT name its folder, the one that has bin and lib.";
const ADB_ADVICE = "Install Android's platform-tools and put them on the PATH.";

/** The SDK's folder, if one is named. */
export function sdkRoot({ env = process.env, sdk }: ToolOptions = {}): string | undefined {
  return sdk ?? (env['QNN_SDK_ROOT'] || env['QAIRT_SDK_ROOT'] || undefined);
}

/**
 * The paths of programs, by name: in the SDK, else on the PATH.
 *
 * @throws DeviceError that names all that are missing, and what to install.
 */
export async function findTools<Name extends string>(
  names: readonly Name[],
  options: ToolOptions = {},
): Promise<Readonly<Record<Name, string>>> {
  const { env = process.env, host = DEFAULT_HOST } = options;
  const root = sdkRoot(options);
  const folders = [
    ...(root === undefined ? [] : [join(root, 'bin', host)]),
    ...(env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== ''),
  ];
  const found = await Promise.all(names.map(async (name) => [name, await findTool(name, folders)] as const));
  const missing = found.filter(([, path]) => path === undefined).map(([name]) => name as string);
  if (missing.length > 0) {
    const searched = root === undefined ? 'on the PATH (QNN_SDK_ROOT is not set)' : `in ${folders[0]} or on the PATH`;
    const advice = [
      ...(missing.some((name) => name !== 'adb') ? [SDK_ADVICE] : []),
      ...(missing.includes('adb') ? [ADB_ADVICE] : []),
    ];
    throw new DeviceError('tools', names.join(', '), `no ${missing.join(', ')} ${searched}`, advice.join(' '));
  }
  return Object.fromEntries(found) as Record<Name, string>;
}

async function findTool(name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const path = join(folder, name);
    const isFile = await stat(path).then(
      (entry) => entry.isFile(),
      () => false,
    );
    if (!isFile) continue;
    const runs = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (runs) return path;
  }
  return undefined;
}

/** What the SDK's `envsetup.sh` sets: where its programs find its libraries and Python modules. */
export function sdkEnvironment(options: ToolOptions = {}): NodeJS.ProcessEnv {
  const { env = process.env, host = DEFAULT_HOST } = options;
  const root = sdkRoot(options);
  if (root === undefined) return env;
  const before = (variable: string, folder: string): string =>
    [folder, env[variable]].filter((part) => part !== undefined && part !== '').join(delimiter);
  return {
    ...env,
    QNN_SDK_ROOT: root,
    QAIRT_SDK_ROOT: root,
    PATH: before('PATH', join(root, 'bin', host)),
    LD_LIBRARY_PATH: before('LD_LIBRARY_PATH', join(root, 'lib', host)),
    PYTHONPATH: before('PYTHONPATH', join(root, 'lib', 'python')),
  };
}
