/** A vitest reporter whose one line closes the run: `N passed, N failed`, with `, N skipped` when there are any. */
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';
import { countOutcomes, formatCounts } from './counts.ts';

export default class CountsReporter implements Reporter {
  private line = '0 passed, 1 failed'; // a run that ends before it was counted has failed

  onInit(): void {
    process.once('exit', () => process.stdout.write(`${this.line}\n`)); // after all that other reporters print
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    this.line = formatCounts(countOutcomes(modules, unhandledErrors.length));
  }
}
