/** The outcome of a test run in three numbers: what failed to load, and what broke outside of any test, has failed too. */
import type { TestModule, TestSuite } from 'vitest/node';

/** How many tests had which outcome. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Counts the tests of a run; a file or a suite with an error of its own counts as one failed test more. */
export function countOutcomes(modules: readonly TestModule[], unhandledErrors: number): Counts {
  const counts = { passed: 0, failed: unhandledErrors, skipped: 0 };
  const addErrorsOf = (owner: TestModule | TestSuite): void => {
    if (owner.errors().length > 0) counts.failed += 1;
  };
  for (const module of modules) {
    addErrorsOf(module);
    for (const suite of module.children.allSuites()) addErrorsOf(suite);
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      counts[state === 'pending' ? 'failed' : state] += 1; // pending: its worker died
    }
  }
  return counts;
}

/** `N passed, N failed`, and `, N skipped` when there are any. */
export function formatCounts({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
