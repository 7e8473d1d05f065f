import { describe, expect, test } from 'vitest';
import { contextValues } from './context.ts';
import { parseConfig } from './parse-config.ts';
import { growingTree, treeContext } from './token-tree.ts';

const config = parseConfig({
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 20,
});

describe('growingTree', () => {
  test('what texts have in common is there once', () => {
    const growing = growingTree();
    expect(growing.cost(Int32Array.of(1, 2, 3))).toBe(3);
    expect(Array.from(growing.add(Int32Array.of(1, 2, 3)))).toEqual([0, 1, 2]);
    const texts: [number[], number, number[]][] = [
      [[1, 2, 4, 5], 2, [0, 1, 3, 4]],
      [[2, 3], 2, [5, 6]],
      [[1, 2, 4], 0, [0, 1, 3]],
      [[1], 0, [0]],
      [[], 0, []],
    ];
    for (const [text, cost, places] of texts) {
      expect(growing.cost(Int32Array.from(text))).toBe(cost);
      expect(Array.from(growing.add(Int32Array.from(text)))).toEqual(places);
    }
    const { tokens, parents } = growing.tree();
    expect(Array.from(tokens)).toEqual([1, 2, 3, 4, 5, 2, 3]);
    expect(Array.from(parents)).toEqual([-1, 0, 1, 1, 3, -1, 5]);
  });
});

describe('treeContext', () => {
  const chain = (length: number) => ({
    tokens: new Int32Array(length),
    parents: Int32Array.from({ length }, (_, i) => i - 1),
  });

  test.each([
    ['plain', config],
    ['behind a prefix', { ...config, prefix: [1, 2, 3] }],
    ['with a window', { ...config, sliding: { window: 3, layers: [true, true] } }],
    ['with both', { ...config, prefix: [1, 2], sliding: { window: 3, layers: [true, true] } }],
  ])('one text alone has the context of a text: %s', (_, given) => {
    expect(treeContext(given, chain(7))).toEqual(contextValues(given, 7));
  });

  test('a token behind itself is an error', () => {
    expect(() => treeContext(config, { tokens: Int32Array.of(1, 2), parents: Int32Array.of(-1, 1) })).toThrowError(
      'treeContext: expected what token 1 follows before it, got 1.',
    );
  });
});
