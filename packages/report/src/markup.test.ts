import { expect, test } from 'vitest';
import { html, trusted } from './markup.ts';

test('what is put in is text, what came from a template is markup', () => {
  const { markup } = html`<p title="${'"><script>'}">${'<b>&'}${html`<i>${"it's"}</i>`}${trusted('<hr>')}</p>`;
  expect(markup).toBe('<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;<i>it&#39;s</i><hr></p>');
});

test('lists are joined, and what is not there is nothing', () => {
  expect(html`${[1, 'a', [html`<b>b</b>`]]}${undefined}${false}${0}`.markup).toBe('1a<b>b</b>0');
});

test('characters that are not seen are shown by their numbers', () => {
  expect(html`${'a\u0000\u202eb\ud800\n\u{1f600}'}`.markup).toBe('a\\u{0}\\u{202e}b\\u{d800}\n\u{1f600}');
});
