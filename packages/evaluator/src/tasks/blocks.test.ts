import { describe, expect, test } from 'vitest';
import { blocksOf } from './blocks.ts';
import { selectTasks } from './built-in-tasks.ts';
import { parseTask } from './parse-task.ts';
import type { Item } from './template.ts';

const items = (count: number): Item[] => Array.from({ length: count }, (_, i) => ({ i }));
const loaded = (name: string, count: number, pool = items(30)) => {
  const [task] = selectTasks([name]).tasks;
  if (!task) throw new Error('expected a task');
  return { task, items: items(count), pool };
};
const numbers = (of: readonly Item[]): unknown[] => of.map(({ i }) => i);

describe('blocksOf', () => {
  test('consecutive items of one task; documents one by one', () => {
    const blocks = blocksOf([loaded('arc_easy', 20), loaded('wikitext', 2), loaded('lambada', 3)], { limit: 18 });
    expect(blocks.map(({ task, first, items }) => [task.name, first, items.length])).toEqual([
      ['arc_easy', 0, 16],
      ['arc_easy', 16, 2],
      ['wikitext', 0, 1],
      ['wikitext', 1, 1],
      ['lambada_openai', 0, 3],
    ]);
  });

  test('solved items are drawn item after item, as Python draws from the seed; for mmlu they are the first', () => {
    const pool = items(299);
    const drawn = blocksOf([loaded('arc_easy', 3, pool)], { fewshot: 5, size: 2 }).flatMap(({ shots }) => shots);
    expect(drawn.map(numbers)).toEqual([
      [225, 59, 3, 46, 298],
      [17, 42, 50, 181, 121],
      [8, 15, 177, 247, 237],
    ]);
    const others = blocksOf([loaded('hellaswag', 226, pool)], { fewshot: 4 }).flatMap(({ shots }) => shots);
    expect(numbers(others[0] ?? [])).toEqual([225, 59, 3, 46]); // of five
    others.forEach((shots, i) => {
      expect(shots).toHaveLength(4);
      expect(numbers(shots)).not.toContain(i);
    });
    expect(numbers(blocksOf([loaded('mmlu_virology', 1)], { fewshot: 3 })[0]?.shots[0] ?? [])).toEqual([0, 1, 2]);
    expect(blocksOf([loaded('wikitext', 1)], { fewshot: 3 })[0]?.shots).toEqual([[]]);
  });

  test('of a task from JSON that does not say which solved items it has, no item stands solved before itself', () => {
    const task = parseTask({
      kind: 'continuation',
      name: 'own',
      version: 1,
      files: ['own.jsonl'],
      prompt: '{i}',
      continuation: '{i}',
      metrics: ['acc'],
    });
    const shots = blocksOf([{ task, items: items(12), pool: items(12) }], { fewshot: 8 }).flatMap(
      (block) => block.shots,
    );
    expect(shots).toHaveLength(12);
    shots.forEach((before, i) => {
      expect(before).toHaveLength(8);
      expect(numbers(before)).not.toContain(i);
    });
  });

  test('refuses blocks of nothing', () => {
    for (const wrong of [{ limit: -1 }, { size: 0 }])
      expect(() => blocksOf([loaded('lambada', 3)], wrong)).toThrow(/expected 1 or more, got/);
  });
});
