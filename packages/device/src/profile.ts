/**
 * Profiles of the NPU: the CSV that ONNX Runtime's QNN provider writes, and that `qnn-profile-viewer` makes of the log of `qnn-net-run`.
 *
 *     Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier
 *     0,EXECUTE,20879,US,BACKEND,ROOT,QNN (execute) time
 *     0,NODE,36333,CYCLES,BACKEND,SUB-EVENT,mm:OpId_23 (cycles)
 *
 * An event says by its identifier what was measured; the column Message differs between the two writers and is not looked at.
 * A device writes it, so nothing is taken on trust: the columns, the number of rows, and every number are checked.
 */
import { DeviceError, printable } from './errors.ts';

/** Cycles of an operator, over all executions. */
export interface OperatorCost {
  /** Of the node that it was compiled from. */
  readonly name: string;
  readonly id: number;
  readonly cycles: number;
  /** How often it was counted: once an execution. */
  readonly executions: number;
}

export interface Profile {
  /** What was measured of whole graphs, in microseconds, one number an execution: by identifier, as `QNN (execute) time`. */
  readonly times: ReadonlyMap<string, readonly number[]>;
  /** The most expensive first. Empty in a profile without details; those with 0 cycles were fused into others. */
  readonly operators: readonly OperatorCost[];
}

const COLUMNS = [
  ...['Msg Timestamp', 'Message', 'Time', 'Unit of Measurement'],
  ...['Timing Source', 'Event Level', 'Event Identifier'],
];
const MOST_CHARACTERS = 256 * 2 ** 20;
const MOST_OPERATORS = 1_000_000;
const LONGEST_NAME = 4096;

/**
 * Reads a profile.
 *
 * @param where names it in errors.
 * @throws DeviceError for other columns, rows that are cut off, numbers that are none, and files too large to be a profile.
 */
export function parseProfile(text: string, where = 'profile'): Profile {
  if (text.length > MOST_CHARACTERS) fail(where, `at most ${MOST_CHARACTERS} characters`, String(text.length));
  const times = new Map<string, number[]>();
  const operators = new Map<string, { name: string; id: number; cycles: number; executions: number }>();
  let columns: number | undefined;
  for (const [number, line] of linesOf(text)) {
    const cells = cellsOf(line);
    if (columns === undefined) {
      if (COLUMNS.some((name, i) => cells[i]?.trim() !== name))
        fail(`${where}, line ${number}`, `the columns ${COLUMNS.join(', ')}`, quoted(line));
      columns = cells.length;
      continue;
    }
    if (cells.length < COLUMNS.length)
      fail(`${where}, line ${number}`, `${COLUMNS.length} cells`, `${cells.length}: ${quoted(line)}`);
    const [time, unit, level] = [cells[2], cells[3], cells[5]] as [string, string, string];
    // Names of operators are not quoted by every writer: with no column behind it, the identifier goes to the end of the line.
    const identifier = (columns > COLUMNS.length ? (cells[6] as string) : cells.slice(6).join(',')).trim();
    if (identifier.length > LONGEST_NAME) fail(`${where}, line ${number}`, 'a name', `${identifier.length} characters`);
    const value = numberOf(time, `${where}, line ${number}`);

    const operator = /^(.*?)[:\s]OpId_(\d{1,15}) \(cycles\)$/s.exec(identifier);
    if (operator && unit.trim() === 'CYCLES') {
      const [name, id] = [printable(operator[1] as string), Number(operator[2])];
      const known = operators.get(`${id} ${name}`);
      if (known) {
        known.cycles += value;
        known.executions++;
      } else {
        if (operators.size >= MOST_OPERATORS) fail(where, `at most ${MOST_OPERATORS} operators`, 'more');
        operators.set(`${id} ${name}`, { name, id, cycles: value, executions: 1 });
      }
    } else if (level.trim() === 'ROOT' && unit.trim() === 'US') {
      const key = printable(identifier);
      const values = times.get(key);
      if (values) values.push(value);
      else times.set(key, [value]);
    }
  }
  if (columns === undefined) fail(where, `the columns ${COLUMNS.join(', ')}`, 'an empty file');
  return { times, operators: [...operators.values()].sort((a, b) => b.cycles - a.cycles || a.id - b.id) };
}

/** What the caller of a graph waits for: the first of these that was measured. */
const LATENCIES = ['QNN (execute) time', 'QNN accelerator (execute) time'];

/**
 * Microseconds of each execution, as its caller sees them: with the way to the NPU and back.
 *
 * @throws DeviceError when nothing was executed.
 */
export function executionTimes({ times }: Profile, where = 'profile'): readonly number[] {
  for (const identifier of LATENCIES) {
    const found = times.get(identifier);
    if (found) return found;
  }
  const received = [...times.keys()].slice(0, 8).join(', ');
  throw new DeviceError(
    where,
    'times of executions',
    received === '' ? 'none' : received,
    'Run with --profiling_level basic or detailed.',
  );
}

/** Microseconds of each execution on the NPU alone, where they were measured. */
export const acceleratorTimes = ({ times }: Profile): readonly number[] | undefined =>
  times.get('Accelerator (execute excluding wait) time') ?? times.get('Accelerator (execute) time');

function* linesOf(text: string): Generator<[number: number, line: string]> {
  let number = 1;
  for (let start = text.startsWith('\uFEFF') ? 1 : 0; start < text.length; number++) {
    const found = text.indexOf('\n', start);
    const end = found < 0 ? text.length : found;
    const line = text.slice(start, end).replace(/\r$/, '');
    if (line.trim() !== '') yield [number, line];
    start = end + 1;
  }
}

/** Cells of a line; those in quotes may hold commas, and a quote as two. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',');
  const cells: string[] = [];
  let cell = '';
  let inside = false;
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '"' && inside && line[i + 1] === '"') cell += line[i++];
    else if (line[i] === '"') inside = !inside;
    else if (line[i] === ',' && !inside) {
      cells.push(cell);
      cell = '';
    } else cell += line[i];
  }
  cells.push(cell);
  return cells;
}

function numberOf(cell: string, where: string): number {
  const text = cell.trim();
  const value = /^\d{1,16}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
  return value <= Number.MAX_SAFE_INTEGER ? value : fail(where, 'a time, a number that is not negative', quoted(cell));
}

const quoted = (text: string): string => `'${printable(text).slice(0, 60)}'`;

function fail(where: string, expected: string, received: string): never {
  throw new DeviceError(where, expected, received, 'Take the CSV that `qnn-profile-viewer --output` writes.');
}
