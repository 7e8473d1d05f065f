/** Programs of this repository in processes of their own, so that time and peak memory are theirs alone. */
import { spawn } from 'node:child_process';

export interface ChildResult {
  readonly stdout: string;
  /** Wall time, from start to end. */
  readonly seconds: number;
  /** Peak resident memory, bytes. */
  readonly peak: number;
}

const REPORT = "process.on('exit', () => console.error('peak ' + process.resourceUsage().maxRSS))";

/**
 * Runs a TypeScript file and waits for its end.
 *
 * @param onLine is given each line that it writes to stderr
 * @throws Error with the end of what it wrote to stderr, when it failed.
 */
export async function runChild(
  file: string,
  args: readonly string[],
  onLine: (line: string) => void = () => {},
): Promise<ChildResult> {
  const start = performance.now();
  const child = spawn(process.execPath, ['--import', `data:text/javascript,${REPORT}`, file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [stdout, stderr, line] = ['', '', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const whole of lines) if (whole && !whole.startsWith('peak ')) onLine(whole);
  });
  const status = await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject));
  if (status !== 0) throw new Error(`${file} ${args.join(' ')} ended with ${status}:\n${stderr.slice(-2000)}`);
  const peak = Number(/^peak (\d+)$/m.exec(stderr)?.[1]) * 1024;
  return { stdout, seconds: (performance.now() - start) / 1000, peak };
}
