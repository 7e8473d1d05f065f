/**
 * Integer programs have one length each, and what is shorter costs the same. So there are several, each twice as long as the one before it,
 * made when a text first needs it: their numbers are equal, since the grids are.
 */
import type { LanguageModel } from '@mobilequant/core';

const SHORTEST = 64;

/**
 * A model for texts of up to `longest` tokens.
 *
 * @param open makes the model for texts of up to so many tokens
 */
export function modelOfLengths(
  vocab: number,
  longest: number,
  open: (tokens: number) => Promise<LanguageModel>,
): LanguageModel {
  const opened = new Map<number, Promise<LanguageModel>>();
  return {
    vocab,
    async logits(tokens) {
      const length = Math.min(SHORTEST * 2 ** Math.max(0, Math.ceil(Math.log2(tokens.length / SHORTEST))), longest);
      const model = opened.get(length) ?? open(length);
      opened.set(length, model);
      return (await model).logits(tokens);
    },
    async release() {
      for (const model of opened.values()) await (await model).release?.();
      opened.clear();
    },
  };
}
