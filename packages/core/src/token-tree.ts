/**
 * Texts that share their beginnings, read at once: a tree of tokens in one row. A token sees itself and what leads to it, and its position
 * is the length of that. So several answers to one question read the question once, and short texts fill one run together.
 */
import type { Value } from '@mobilequant/tracer';
import { type DecoderConfig, isSliding } from './config.ts';
import { MASKED } from './context.ts';
import { ropeTables } from './rope.ts';

export interface TokenTree {
  /** `[tokens]`, each behind the one that it follows. */
  readonly tokens: Int32Array;
  /** `[tokens]`, where the token before each stands; -1 for the first token of a text. */
  readonly parents: Int32Array;
}

/** A tree that grows by whole texts. */
export interface GrowingTree {
  /** How many tokens a text would add: those behind what it has in common with another one. */
  cost(text: Int32Array): number;
  /** Tokens that are there. */
  size(): number;
  /** Adds a text → where each of its tokens stands. */
  add(text: Int32Array): Int32Array;
  /** What is there now. */
  tree(): TokenTree;
}

/**
 * An empty tree.
 *
 * @example
 * const growing = growingTree();
 * growing.add(Int32Array.of(7, 8));
 * Array.from(growing.add(Int32Array.of(7, 9))); // => [0, 2]
 */
export function growingTree(): GrowingTree {
  const tokens: number[] = [];
  const parents: number[] = [];
  const followers = new Map<number, Map<number, number>>([[-1, new Map()]]); // by place: token → its place
  const follower = (place: number, token: number): number | undefined => followers.get(place)?.get(token);
  return {
    cost(text) {
      let place = -1;
      for (let i = 0; i < text.length; i++) {
        const next = follower(place, text[i] as number);
        if (next === undefined) return text.length - i;
        place = next;
      }
      return 0;
    },
    size: () => tokens.length,
    add(text) {
      let last = -1;
      return text.map((token) => {
        const before = last;
        const found = follower(before, token);
        if (found !== undefined) return (last = found);
        last = tokens.push(token) - 1;
        parents.push(before);
        followers.get(before)?.set(token, last);
        followers.set(last, new Map());
        return last;
      });
    },
    tree: () => ({ tokens: Int32Array.from(tokens), parents: Int32Array.from(parents) }),
  };
}

/** The tree with other texts of one token behind it, which nothing sees, up to a number of tokens. */
export function paddedTree({ tokens, parents }: TokenTree, length: number): TokenTree {
  const padded = { tokens: new Int32Array(length), parents: new Int32Array(length).fill(-1) };
  padded.tokens.set(tokens);
  padded.parents.set(parents);
  return padded;
}

/**
 * Rotary tables and mask of a tree behind the prefix, as a layer has them: what `contextValues` is for one text.
 *
 * @throws RangeError for a token that stands before the one it follows.
 */
export function treeContext(
  config: DecoderConfig,
  { parents }: TokenTree,
  layer = 0,
): Record<'cos' | 'sin' | 'mask', Value> {
  const { headDim, prefix } = config;
  const window = (isSliding(config, layer) ? config.sliding?.window : undefined) ?? Infinity;
  const [tokens, before] = [parents.length, prefix.length];
  const width = before + tokens;
  const depths = new Int32Array(tokens);
  const mask = new Float32Array(tokens * width).fill(MASKED);
  for (let query = 0; query < tokens; query++) {
    const parent = parents[query] as number;
    if (!(parent >= -1 && parent < query))
      throw new RangeError(`treeContext: expected what token ${query} follows before it, got ${parent}.`);
    const depth = (depths[query] = parent < 0 ? 0 : (depths[parent] as number) + 1);
    const row = mask.subarray(query * width, (query + 1) * width);
    row.fill(0, Math.min(before, Math.max(0, before + depth - window + 1)), before);
    for (let key = query, seen = 0; key >= 0 && seen < window; key = parents[key] as number, seen++)
      row[before + key] = 0;
  }
  const deepest = depths.reduce((a, b) => Math.max(a, b), 0);
  const tables = ropeTables(config, deepest + 1, before, layer);
  const rowsOf = (table: Float32Array): Value => {
    const data = new Float32Array(tokens * headDim);
    depths.forEach((depth, i) => {
      data.set(table.subarray(depth * headDim, (depth + 1) * headDim), i * headDim);
    });
    return { data, shape: [tokens, headDim] };
  };
  return { cos: rowsOf(tables.cos), sin: rowsOf(tables.sin), mask: { data: mask, shape: [1, tokens, width] } };
}
