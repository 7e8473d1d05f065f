import { expect, test } from 'vitest';
import { matchSite } from './match-site.ts';

test.each([
  ['model.layers.0.mlp.w2.input', 'model.layers.0.mlp.w2.input', true],
  ['model.layers.0.mlp.w2.input', 'model.layers.0.mlp.w2.input2', false],
  ['model.layers.*.mlp.w2.input', 'model.layers.17.mlp.w2.input', true],
  ['model.layers.*.mlp.w2.input', 'model.layers.17.mlp.w2.input2', false],
  ['model.layers.1.*', 'model.layers.11.mlp.w2.input', false],
  ['*.weight', 'lm_head.weight', true],
  ['*.weight', 'weight', false],
  ['*', '', true],
  ['', '', true],
  ['', 'a', false],
  ['*proj*weight', 'self_attn.q_proj.weight', true],
  ['*a*ab', 'xaab', true],
  ['*ab*ab', 'ab', false],
  ['a.c', 'abc', false],
])('%s and %s: %s', (pattern, site, expected) => expect(matchSite(pattern, site)).toBe(expected));

test('it agrees with a regular expression', () => {
  const words = ['', 'a', 'b', 'ab', 'ba', 'aab', 'abb', 'abab', 'bbaa', 'aabba'];
  const patterns = ['*', 'a*', '*a', 'a*b', '*a*', '*ab*', 'a*b*a', '**b', '*a*b*', 'ab'];
  for (const pattern of patterns) {
    const regex = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
    for (const word of words)
      expect([pattern, word, matchSite(pattern, word)]).toEqual([pattern, word, regex.test(word)]);
  }
});

test('a pattern for every layer covers the layer-relative name, one for a single layer does not', () => {
  expect(matchSite('model.layers.*.self_attn.*_proj.weight', 'self_attn.q_proj.weight')).toBe(true);
  expect(matchSite('model.layers.3.self_attn.q_proj.weight', 'self_attn.q_proj.weight')).toBe(false);
});

test.each(['lm_head.weight', 'model.norm.weight', 'model.embed_tokens.weight'])(
  'a pattern for every layer does not cover %s, which is in none',
  (site) => {
    for (const rest of ['*', '*.weight', '*norm.weight', '*weight'])
      expect(matchSite(`model.layers.*.${rest}`, site)).toBe(false);
  },
);

test('many stars do not make it slow', () => {
  expect(matchSite(`${'*a'.repeat(40)}b`, 'a'.repeat(2000))).toBe(false);
});
