/** Tables for people: Markdown for documents, aligned text for terminals. */

/** Rows × columns; what is missing is shown as –. */
export interface Table {
  /** What stands above the rows' names. */
  readonly corner?: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: string; readonly cells: readonly (string | number | undefined)[] }[];
}

/**
 * A number in four digits, or fewer where they say nothing.
 *
 * @example
 * formatNumber(30.3612); // => '30.36'
 */
export function formatNumber(x: number): string {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'NaN' : x > 0 ? '∞' : '-∞';
  if (Number.isInteger(x)) return String(x);
  const size = Math.abs(x);
  return size >= 1e6 || size < 1e-4 ? x.toExponential(2) : size >= 1000 ? x.toFixed(0) : x.toPrecision(4);
}

/** The table in Markdown. */
export function markdownTable(table: Table): string {
  const [head, ...body] = textsOf(table) as [string[], ...string[][]];
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = head.map((_, i) => (i === 0 ? '---' : '---:'));
  return [head, rule, ...body].map(line).join('\n');
}

/** The table in columns of one width each, numbers to the right. */
export function alignedTable(table: Table): string {
  const lines = textsOf(table);
  const widths = (lines[0] as string[]).map((_, i) => Math.max(...lines.map((cells) => (cells[i] as string).length)));
  const pad = (cell: string, i: number) =>
    i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number);
  const [head, ...body] = lines.map((cells) => cells.map(pad).join('  ').trimEnd());
  return [head, widths.map((width) => '-'.repeat(width)).join('  '), ...body].join('\n');
}

/** Head and rows, all of one length. */
function textsOf({ corner = '', columns, rows }: Table): string[][] {
  const text = (cell: string | number | undefined) =>
    cell === undefined ? '–' : typeof cell === 'number' ? formatNumber(cell) : cell;
  return [[corner, ...columns], ...rows.map(({ name, cells }) => [name, ...columns.map((_, i) => text(cells[i]))])];
}
