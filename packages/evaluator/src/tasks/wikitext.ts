/** WikiText-2 by documents: perplexity of a word, a byte, and a token. */
import { SPACE, strip } from './python-text.ts';
import type { TextTask } from './task.ts';
import type { Item } from './template.ts';

export const wikitext: TextTask = {
  kind: 'text',
  name: 'wikitext',
  version: 2,
  files: [
    'wikitext/test.jsonl',
    'wikitext-2/test.jsonl',
    'wikitext-2/wiki.test.raw',
    'wikitext-2/test.raw',
    'wikitext-2/test.part1.raw',
  ],
  hub: { dataset: 'EleutherAI/wikitext_document_level', config: 'wikitext-2-raw-v1' },
  prepare: (item) => ({ ...item, text: untokenized(String(item.page)) }),
  text: '{text}',
  counted: '{page}', // words and bytes are those before
  metrics: ['word_perplexity', 'byte_perplexity', 'bits_per_byte', 'token_perplexity'],
};

/** The articles of a raw file, each from its heading ` = Title = ` to the next. */
export function articlesOf(raw: string): Item[] {
  const articles: string[][] = [[]];
  for (const line of raw.split('\n')) {
    const heading = strip(line.replaceAll('= = =', '===').replaceAll('= =', '=='));
    if (heading.startsWith('= ') && heading.endsWith(' =')) {
      if (strip(articles.at(-1)?.join('\n') ?? '') === '') articles.pop();
      articles.push([]);
    }
    articles.at(-1)?.push(line);
  }
  return articles.map((lines) => ({ page: lines.join('\n') }));
}

const spaced = (open: string, inside: string, close: string): RegExp =>
  new RegExp(`${open}${SPACE}*(${inside}*?)${SPACE}*${close}`, 'g');

/** In order; the second is as the harness has it, though no text has its slashes. */
const REPLACEMENTS: readonly (readonly [string | RegExp, string])[] = [
  ["s '", "s'"],
  [/\/' [0-9]\//g, "/'[0-9]/"],
  [' @-@ ', '-'],
  [' @,@ ', ','],
  [' @.@ ', '.'],
  [' : ', ': '],
  [' ; ', '; '],
  [' . ', '. '],
  [' ! ', '! '],
  [' ? ', '? '],
  [' , ', ', '],
  [spaced('\\(', '[^)]', '\\)'), '($1)'],
  [spaced('\\[', '[^\\]]', '\\]'), '[$1]'],
  [spaced('\\{', '[^}]', '\\}'), '{$1}'],
  [spaced('"', '[^"]', '"'), '"$1"'],
  [spaced("'", "[^']", "'"), "'$1'"],
  ['= = = =', '===='],
  ['= = =', '==='],
  ['= =', '=='],
  [' ° ', '°'],
  [' \n', '\n'],
  ['\n ', '\n'],
  [' N ', ' 1 '],
  [" 's", "'s"],
];

/** WikiText's spaces around punctuation taken out. */
export const untokenized = (page: string): string =>
  REPLACEMENTS.reduce((text, [from, to]) => text.replaceAll(from, to), page);
