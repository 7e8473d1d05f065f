/** How far a long computation is. */
export interface Progress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** Seconds left, from the pace so far; absent before the first step. */
  readonly secondsLeft?: number;
  readonly loss?: number;
}

export type OnProgress = (progress: Progress) => void;

/** Counts steps and estimates the time left. `done` is where a resumed computation starts. */
export function progressOf(
  stage: string,
  total: number,
  report: OnProgress | undefined,
  done = 0,
): { step(loss?: number): void } {
  const start = performance.now();
  const before = done;
  return {
    step(loss) {
      done++;
      const pace = (performance.now() - start) / (done - before) / 1000;
      report?.({ stage, done, total, secondsLeft: pace * (total - done), ...(loss !== undefined && { loss }) });
    },
  };
}
