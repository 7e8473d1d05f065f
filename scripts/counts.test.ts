import { expect, test } from 'vitest';
import type { TestModule } from 'vitest/node';
import { countOutcomes, formatCounts } from './counts.ts';

type State = 'passed' | 'failed' | 'skipped' | 'pending';

/** As much of a finished test file as is counted. */
const module = (states: State[], { errors = 0, suiteErrors = 0 } = {}): TestModule =>
  ({
    errors: () => Array(errors).fill({}),
    children: {
      allSuites: () => [{ errors: () => Array(suiteErrors).fill({}) }],
      allTests: () => states.map((state) => ({ result: () => ({ state }) })),
    },
  }) as unknown as TestModule;

const counted = (modules: TestModule[], unhandled = 0): string => formatCounts(countOutcomes(modules, unhandled));

test('tests of all files are counted by outcome', () => {
  expect(counted([module(['passed', 'failed']), module(['passed', 'skipped'])])).toBe('2 passed, 1 failed, 1 skipped');
});

test('skipped tests are named only when there are some', () => {
  expect(counted([module(['passed'])])).toBe('1 passed, 0 failed');
});

test('a file that failed to load has failed', () =>
  expect(counted([module([], { errors: 2 })])).toBe('0 passed, 1 failed'));

test('a suite whose preparation failed has failed, though its tests were skipped', () => {
  expect(counted([module(['skipped'], { suiteErrors: 1 })])).toBe('0 passed, 1 failed, 1 skipped');
});

test('an error outside of any test has failed, and so has a test that did not end', () => {
  expect(counted([module(['pending'])], 1)).toBe('0 passed, 2 failed');
});
