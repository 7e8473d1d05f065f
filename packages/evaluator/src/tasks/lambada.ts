/** LAMBADA in OpenAI's variant: the last word of a passage. */
import type { ContinuationTask } from './task.ts';

export const lambada: ContinuationTask = {
  kind: 'continuation',
  name: 'lambada_openai',
  version: 1,
  files: ['lambada_openai/test.jsonl'],
  hub: { dataset: 'EleutherAI/lambada_openai' },
  prepare: (item) => {
    const text = String(item.text);
    const last = text.lastIndexOf(' ');
    return { ...item, passage: text.slice(0, Math.max(0, last)), word: text.slice(last + 1) };
  },
  prompt: '{passage}',
  continuation: ' {word}',
  metrics: ['perplexity', 'acc'],
};
