/** AI2's reasoning challenge: questions of school science, the easy ones and the others. */
import type { ChoiceTask } from './task.ts';

const arc = (name: string, config: string): ChoiceTask => ({
  kind: 'choice',
  name,
  version: 1,
  files: [`${name}/test.jsonl`],
  hub: { dataset: 'allenai/ai2_arc', config },
  shots: { files: [`${name}/train.jsonl`], order: 'random' },
  prompt: 'Question: {question}\nAnswer:',
  choices: 'choices.text',
  gold: { find: 'answerKey', in: 'choices.label' },
  metrics: ['acc', 'acc_norm'],
});

export const arcChallenge: ChoiceTask = arc('arc_challenge', 'ARC-Challenge');

export const arcEasy: ChoiceTask = arc('arc_easy', 'ARC-Easy');
