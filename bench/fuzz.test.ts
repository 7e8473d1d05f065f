import { expect, test } from 'vitest';
import { fuzzFiles } from './fuzz-files.ts';

test('model files that were changed at random are read or refused, soon, and in little memory', async () => {
  const { outcomes, wrong, slowest, growth } = await fuzzFiles({ count: 1000 });
  expect(wrong).toEqual([]);
  const { read, refused } = Object.values(outcomes).reduce((sum, { read, refused, wrong }) => ({
    read: sum.read + read,
    refused: sum.refused + refused,
    wrong,
  }));
  expect(read).toBeGreaterThan(50); // some changes are harmless: what lies behind the headers is reached
  expect(refused).toBeGreaterThan(500);
  expect(slowest.milliseconds).toBeLessThan(1000);
  expect(growth).toBeLessThan(200e6);
});
