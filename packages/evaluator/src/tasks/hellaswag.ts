/** HellaSwag: how a description goes on. */
import { capitalize, strip } from './python-text.ts';
import type { ChoiceTask } from './task.ts';
import { type Item, textsAt } from './template.ts';

export const hellaswag: ChoiceTask = {
  kind: 'choice',
  name: 'hellaswag',
  version: 1,
  files: ['hellaswag/validation.jsonl'],
  hub: { dataset: 'Rowan/hellaswag' },
  shots: { files: ['hellaswag/train.jsonl'], order: 'random-others' },
  prepare: (item: Item) => ({
    ...item,
    query: cleaned(`${item.activity_label}: ${item.ctx_a} ${capitalize(String(item.ctx_b))}`),
    choices: textsAt(item, 'endings').map(cleaned),
  }),
  prompt: '{query}',
  choices: 'choices',
  gold: 'label',
  metrics: ['acc', 'acc_norm'],
};

/** Without the marks in brackets that WikiHow's articles have left behind. */
const cleaned = (text: string): string =>
  strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
