/**
 * Programs by key: whoever runs one function over many layers compiles it once.
 */
import type { Executor, Program } from './runtime.ts';
import type { InputSpecs, Traceable } from './trace.ts';

export interface ProgramCache {
  /**
   * The program of a key. Equal keys must stand for equal functions and specs: the first is compiled (its specs are asked for then),
   * and the rest are given it. A failure is not kept.
   */
  program<const Specs extends InputSpecs, Output extends string>(
    key: string,
    specs: () => Specs,
    fn: Traceable<Specs, Output>,
  ): Promise<Program<Output>>;
  /** Releases every program. The cache is empty then, and may be used again. */
  release(): Promise<void>;
}

/** An empty cache over an executor. */
export function programCache(executor: Executor): ProgramCache {
  const programs = new Map<string, Promise<Program>>();
  return {
    program<const Specs extends InputSpecs, Output extends string>(
      key: string,
      specs: () => Specs,
      fn: Traceable<Specs, Output>,
    ) {
      let program = programs.get(key);
      if (!program) {
        const made: Promise<Program> = executor.program(fn, specs());
        programs.set(key, made);
        made.catch(() => programs.get(key) === made && programs.delete(key));
        program = made;
      }
      return program as Promise<Program<Output>>;
    },
    async release() {
      const own = [...programs.values()];
      programs.clear(); // before anything is awaited: what is asked for meanwhile is compiled anew
      const all = await Promise.allSettled(own);
      for (const result of all) if (result.status === 'fulfilled') await result.value.release();
    },
  };
}
