/** Recipes to try next, to be copied or saved. */
import { html } from './markup.ts';
import type { Override } from './report-data.ts';
import type { Section } from './section.ts';

export function overrides(given: readonly Override[]): Section {
  const content = html`<p>Recipes that give more bits to what was measured to cost most. Save one and quantize again with <code>--recipe FILE</code>.</p>
${given.map(({ title, why, file, recipe }, i) => {
  const json = jsonLines(recipe);
  return html`<article class="override"><h3 id="override-${i}">${title}</h3><p>${why}</p>
<pre tabindex="0" role="region" aria-labelledby="override-${i}"><code>${json}</code></pre>
<p><a download="${file}" href="data:application/json;charset=utf-8,${encodeURIComponent(json)}">Save as ${file}</a></p></article>`;
})}`;
  return { id: 'overrides', title: 'Suggested recipes', content };
}

/** JSON with an entry of the recipe on each line, and one of its rules. */
function jsonLines(value: unknown, depth = 0): string {
  const whole = (JSON.stringify(value) ?? 'null').replace(/("(?:[^"\\]|\\.)*")|[:,{}]/g, (part, text) =>
    text ? part : (SPACED[part] as string),
  );
  if (depth > 1 || typeof value !== 'object' || value === null) return whole;
  const pad = '  '.repeat(depth + 1);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  const lines = Object.entries(value).map(
    ([name, entry]) => `${pad}${Array.isArray(value) ? '' : `${JSON.stringify(name)}: `}${jsonLines(entry, depth + 1)}`,
  );
  return `${open}\n${lines.join(',\n')}\n${pad.slice(2)}${close}`;
}

const SPACED: Readonly<Record<string, string>> = { ':': ': ', ',': ', ', '{': '{ ', '}': ' }' };
