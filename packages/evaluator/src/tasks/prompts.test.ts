import { describe, expect, test } from 'vitest';
import { selectTasks } from './built-in-tasks.ts';
import { choicesOf, goldOf, promptOf, textValues, valuesOf } from './item-values.ts';
import type { ChoiceTask, ContinuationTask, TextTask } from './task.ts';
import { articlesOf } from './wikitext.ts';

const only = <T>(name: string): T => selectTasks([name]).tasks[0] as T;
const score = (logLikelihood: number, greedy = false) => ({ logLikelihood, greedy });

describe('arc_challenge', () => {
  const task = only<ChoiceTask>('arc_challenge');
  const item = {
    question: 'Why?',
    choices: { text: ['Because.', 'No', 'Yes, if {x}'], label: ['1', '2', '3'] },
    answerKey: '3',
  };

  test('the prompt, and a solved item before it', () => {
    expect(promptOf(task, item, [])).toBe('Question: Why?\nAnswer:');
    expect(promptOf(task, item, [item])).toBe('Question: Why?\nAnswer: Yes, if {x}\n\nQuestion: Why?\nAnswer:');
    expect(goldOf(task, item)).toBe(2);
  });

  test('acc takes the largest sum, acc_norm the largest per character', () => {
    expect(valuesOf(task, item, [score(-5), score(-4), score(-6)])).toEqual({ acc: 0, acc_norm: 1 });
    expect(valuesOf(task, item, [score(-5), score(-4), score(-3)])).toEqual({ acc: 1, acc_norm: 1 });
  });

  test('equal sums: the first counts, as argmax has it', () => {
    expect(valuesOf(task, { ...item, answerKey: '1' }, [score(-4), score(-4), score(-9)]).acc).toBe(1);
    expect(valuesOf(task, { ...item, answerKey: '2' }, [score(-4), score(-4), score(-9)]).acc).toBe(0);
  });

  test('an answer that is not there is an error', () => {
    expect(() => goldOf(task, { ...item, answerKey: 'E' })).toThrowErrorMatchingInlineSnapshot(
      `[TaskError: answerKey: expected one of 3 answers, got "E". Compare the task with the items.]`,
    );
    expect(() => promptOf(task, {}, [])).toThrowErrorMatchingInlineSnapshot(
      `[TaskError: {question}: expected a text or a number, got nothing. Compare the template with the items.]`,
    );
  });
});

test('hellaswag: marks are taken out, the second part begins large', () => {
  const task = only<ChoiceTask>('hellaswag');
  const item = task.prepare?.({
    activity_label: 'Baking',
    ctx_a: 'Bake  a cake [step] now.',
    ctx_b: 'the TV',
    endings: [' burns [title] Then. ', 'is [substeps] on', '[x]a', 'b'],
    label: '1',
  }) as Record<string, unknown>;
  expect(promptOf(task, item, [])).toBe('Baking: Bake a cake now. The tv');
  expect(choicesOf(task, item)).toEqual(['burns. Then.', 'is on', 'a', 'b']);
  expect(goldOf(task, item)).toBe(1);
  for (const label of ['', ' ', [], '1.0', null])
    expect(() => goldOf(task, { ...item, label })).toThrow(/label: expected one of 4 answers/);
});

test('lambada_openai: the last word', () => {
  const task = only<ContinuationTask>('lambada');
  const item = task.prepare?.({ text: 'She said\n\n"no  way' }) as Record<string, unknown>;
  expect(promptOf(task, item, [])).toBe('She said\n\n"no ');
  expect(promptOf(task, item, [item])).toBe('She said\n\n"no   way\n\nShe said\n\n"no ');
  expect(valuesOf(task, item, [score(-2, true)])).toEqual({ perplexity: -2, acc: 1 });
});

test('mmlu: the subject in words, letters as answers', () => {
  const task = only<ChoiceTask>('mmlu_high_school_physics');
  const item = { question: 'What? ', choices: ['u', 'v', 'w', 'x'], answer: 3 };
  const prepared = task.prepare?.(item) as Record<string, unknown>;
  expect(promptOf(task, prepared, [prepared])).toBe(
    'The following are multiple choice questions (with answers) about high school physics.\n\n' +
      'What?\nA. u\nB. v\nC. w\nD. x\nAnswer: D\n\nWhat?\nA. u\nB. v\nC. w\nD. x\nAnswer:',
  );
});

describe('wikitext', () => {
  const raw = ' \n = One = \n \n Text , with @-@ marks . \n = = Part = = \n " Quoted " ( so ) \n = Two = \n More \n';

  test('articles begin with a heading of the first rank', () => {
    expect(articlesOf(raw).map(({ page }) => page)).toEqual([
      ' = One = \n \n Text , with @-@ marks . \n = = Part = = \n " Quoted " ( so ) ',
      ' = Two = \n More \n',
    ]);
  });

  test('the model reads it without its spaces; words and bytes are those before', () => {
    const task = only<TextTask>('wikitext');
    const item = task.prepare?.(articlesOf(raw)[0] as never) as { text: string; page: string };
    expect(item.text).toBe(' = One =\n\nText, with-marks.\n== Part ==\n"Quoted" (so) ');
    const words = item.page.split(/\s+/).length;
    expect(textValues(task, item, -30, 20)).toEqual({
      word_perplexity: [-30, words],
      byte_perplexity: [-30, item.page.length],
      bits_per_byte: [-30, item.page.length],
      token_perplexity: [-30, 20],
    });
  });
});

describe('selectTasks', () => {
  test('a group is its tasks, and the groups within it', () => {
    const { tasks, groups } = selectTasks(['mmlu', 'lambada', 'mmlu_anatomy']);
    expect(tasks).toHaveLength(58);
    expect(groups.map(({ name }) => name)).toEqual([
      'mmlu_stem',
      'mmlu_other',
      'mmlu_social_sciences',
      'mmlu_humanities',
      'mmlu',
    ]);
    expect(selectTasks(['mmlu_other']).groups.map(({ name }) => name)).toEqual(['mmlu_other']);
    expect(selectTasks(['mmlu_anatomy']).groups).toEqual([]);
  });

  test('an unknown name is an error that says which there are', () => {
    expect(() => selectTasks(['arc'])).toThrowErrorMatchingInlineSnapshot(
      `[TaskError: tasks: expected wikitext, arc_challenge, arc_easy, hellaswag, lambada_openai, mmlu_stem, mmlu_other, mmlu_social_sciences, mmlu_humanities, mmlu or a subject as mmlu_anatomy, got arc. Correct the name.]`,
    );
  });
});
