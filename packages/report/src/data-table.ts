/** Tables: a caption, headers with their scopes, and a box of their own to scroll in where the screen is narrow. */
import { html, type Markup } from './markup.ts';

type Cell = Markup | string | undefined;

export interface DataTable {
  /** Of the page; unique. */
  readonly id: string;
  readonly caption: string;
  /** What stands above the rows' names. */
  readonly corner: string;
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: Cell; readonly cells: readonly Cell[]; readonly marked?: boolean }[];
  /** Columns of words, by number; others hold numbers. */
  readonly words?: readonly number[];
}

/** The table; a cell that is missing is shown as a dash. */
export function dataTable({ id, caption, corner, columns, rows, words = [] }: DataTable): Markup {
  const kind = (i: number): string => (words.includes(i) ? 'word' : 'number');
  return html`<div class="scroll" role="region" aria-labelledby="${id}" tabindex="0">
<table><caption id="${id}"><span>${caption}</span></caption>
<thead><tr><th scope="col">${corner}</th>${columns.map((column, i) => html`<th scope="col" class="${kind(i)}">${column}</th>`)}</tr></thead>
<tbody>${rows.map(
    ({
      name,
      cells,
      marked,
    }) => html`<tr${marked && html` class="marked"`}><th scope="row">${name ?? '–'}</th>${columns.map(
      (_, i) => html`<td class="${kind(i)}">${cells[i] ?? '–'}</td>`,
    )}</tr>
`,
  )}</tbody></table></div>`;
}

/** The same behind a summary: what a figure shows, for those who would rather read it. */
export const behind = (summary: string, content: Markup): Markup =>
  html`<details><summary>${summary}</summary>${content}</details>`;
