/**
 * How long what is left will take: as long as what was of the same kind took. A kind is a model with a method, or a model with a text
 * or a task and a form; of a kind that was never done nothing is known, and the estimate says so.
 */
import { duration } from 'mobilequant';
import type { ModelJobs } from './jobs.ts';
import type { Asked, AskedMeasurement } from './record.ts';

export interface TimeLeft {
  /** Does a job, and remembers how long it took. */
  run<T>(asked: Asked | AskedMeasurement, work: () => Promise<T>): Promise<T>;
  /** A job that was done already. */
  skip(asked: Asked | AskedMeasurement): void;
  /** For people: `3 of 40, 2 h 10 min left`. */
  state(): string;
}

export function timeLeft(jobs: readonly ModelJobs[], now: () => number = () => performance.now() / 1000): TimeLeft {
  const waiting = jobs.flatMap(({ floats, quantizations }) => [
    ...floats.map(kindOf),
    ...quantizations.flatMap(({ asked, measurements }) => [kindOf(asked), ...measurements.map(kindOf)]),
  ]);
  const total = waiting.length;
  const took = new Map<string, number[]>();
  const take = (asked: Asked | AskedMeasurement): string => {
    const kind = kindOf(asked);
    waiting.splice(waiting.indexOf(kind), 1);
    return kind;
  };
  return {
    async run(asked, work) {
      const start = now();
      try {
        return await work();
      } finally {
        const kind = take(asked);
        took.set(kind, [...(took.get(kind) ?? []), now() - start]);
      }
    },
    skip: (asked) => void take(asked),
    state() {
      const known = waiting.map((kind) => mean(took.get(kind)));
      const left = known.reduce((sum: number, seconds) => sum + (seconds ?? 0), 0);
      const more = known.some((seconds) => seconds === undefined) ? 'more than ' : '';
      return `${total - waiting.length} of ${total}, ${more}${duration(left)} left`;
    },
  };
}

const kindOf = (asked: Asked | AskedMeasurement): string =>
  'form' in asked
    ? `${asked.model} ${'task' in asked ? asked.task.name : asked.text.name} ${asked.form}`
    : `${asked.model} ${asked.recipe} ${asked.method}`;

const mean = (values: readonly number[] = []): number | undefined =>
  values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined;
