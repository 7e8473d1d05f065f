/**
 * HTML and SVG from templates. Whatever is put in is escaped unless it came from a template itself, so that no text of a file can become
 * markup; attributes must be quoted.
 *
 *     html`<p title="${name}">${rows.map((row) => html`<b>${row}</b>`)}</p>`
 */

/** Text that is markup already. */
export interface Markup {
  readonly markup: string;
}

type Content = Markup | string | number | false | undefined | readonly Content[];

/** Markup, with everything else in it escaped; `false` and `undefined` are nothing, lists are joined. */
export function html(parts: TemplateStringsArray, ...contents: readonly Content[]): Markup {
  return { markup: parts.reduce((text, part, i) => text + markupOf(contents[i - 1]) + part) };
}

/** Text of ours that is no template, such as a style sheet. */
export const trusted = (markup: string): Markup => ({ markup });

function markupOf(content: Content): string {
  if (content === undefined || content === false) return '';
  if (typeof content === 'string') return escaped(content);
  if (typeof content === 'number') return String(content);
  return 'markup' in content ? content.markup : content.map(markupOf).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Controls, marks that turn the direction of text around, and halves of characters are shown by their numbers. */
const UNSEEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu;

const escaped = (text: string): string =>
  text
    .replace(UNSEEN, (c) => (c === '\n' || c === '\t' ? c : `\\u{${c.codePointAt(0)?.toString(16)}}`))
    .replace(/[&<>"']/g, (c) => ENTITIES[c] as string);
