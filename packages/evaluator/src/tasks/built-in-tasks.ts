/** The tasks that are here already, and how a user names them. */
import { arcChallenge, arcEasy } from './arc.ts';
import { hellaswag } from './hellaswag.ts';
import { lambada } from './lambada.ts';
import { mmluGroups, mmluTasks } from './mmlu.ts';
import type { Task, TaskGroup } from './task.ts';
import { TaskError } from './task-error.ts';
import { wikitext } from './wikitext.ts';

const SINGLE: readonly Task[] = [wikitext, arcChallenge, arcEasy, hellaswag, lambada];

const ALIASES = new Map([['lambada', 'lambada_openai']]);

/** What can be asked for by name, subjects of groups aside. */
export const taskNames: readonly string[] = [...SINGLE, ...mmluGroups].map(({ name }) => name);

/**
 * Tasks and groups by their names, each once, in the order in which they were asked for.
 *
 * @param own tasks beside the built-in ones; they come first where names are equal
 * @throws TaskError for a name that stands for nothing.
 */
export function selectTasks(
  names: readonly string[],
  own: readonly Task[] = [],
): { readonly tasks: readonly Task[]; readonly groups: readonly TaskGroup[] } {
  const known = new Map([...SINGLE, ...mmluTasks, ...own].map((task) => [task.name, task]));
  const tasks = new Set<Task>();
  const groups = new Set<TaskGroup>();
  for (const given of names) {
    const name = ALIASES.get(given) ?? given;
    const group = mmluGroups.find((candidate) => candidate.name === name);
    const members = group?.tasks ?? [name];
    for (const member of members) {
      const task = known.get(member);
      if (!task)
        throw new TaskError('tasks', `${taskNames.join(', ')} or a subject as mmlu_anatomy`, name, 'Correct the name.');
      tasks.add(task);
    }
    if (!group) continue;
    for (const part of mmluGroups) if (part.tasks.every((task) => group.tasks.includes(task))) groups.add(part);
  }
  return { tasks: [...tasks], groups: [...groups] };
}
