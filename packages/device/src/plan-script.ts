/** A plan of the SDK's commands as a script for a shell, to read or to run elsewhere. */
import type { CompilePlan } from './sdk-commands.ts';

/** What stands for the SDK's folder in a plan that is only shown. */
export const SDK_VARIABLE = '$QNN_SDK_ROOT';

/** Folders, configuration files, and a line for each command, in their order. */
export function planScript({ files, commands }: CompilePlan): string {
  const paths = [...files.map(({ path }) => path), ...commands.flatMap(({ writes }) => writes)];
  const folders = [...new Set(paths.map((path) => path.replace(/\/?[^/]*$/, '') || '.'))];
  return [
    `mkdir -p ${folders.map(word).join(' ')}`,
    ...files.map(
      ({ path, text }) => `cat > ${word(path)} <<${text.includes(SDK_VARIABLE) ? 'END' : "'END'"}\n${text}END`,
    ),
    ...commands.map(({ tool, args }) => [tool, ...args.map(word)].join(' ')),
  ].join('\n');
}

/** A word for a shell. The SDK's folder may be a variable, which stays one. */
function word(text: string): string {
  const [before, rest] = text.startsWith(SDK_VARIABLE) ? [SDK_VARIABLE, text.slice(SDK_VARIABLE.length)] : ['', text];
  return before + (/^[\w./,:=@%+-]+$/.test(rest) ? rest : `'${rest.replaceAll("'", "'\\''")}'`);
}
