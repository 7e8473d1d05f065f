/** A section of the page. */
import { html, type Markup } from './markup.ts';

export interface Section {
  /** Of the page; unique. */
  readonly id: string;
  readonly title: string;
  readonly content: Markup;
}

export const sectionMarkup = ({ id, title, content }: Section): Markup => html`<section aria-labelledby="${id}">
<h2 id="${id}" tabindex="-1">${title}</h2>
${content}
</section>
`;
