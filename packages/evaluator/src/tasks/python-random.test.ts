import { describe, expect, test } from 'vitest';
import { pythonRandom } from './python-random.ts';

describe("pythonRandom draws what Python's random.Random(seed) draws", () => {
  test('samples of lists, large and small', () => {
    const a = pythonRandom(1234);
    expect([a.sample(299, 5), a.sample(299, 5), a.sample(299, 5)]).toEqual([
      [225, 59, 3, 46, 298],
      [17, 42, 50, 181, 121],
      [8, 15, 177, 247, 237],
    ]);
    expect(a.random()).toBe(0.14855463870828756);
    const b = pythonRandom(0);
    expect(b.sample(20, 3)).toEqual([12, 13, 1]); // from a pool
    expect(b.sample(1000, 10)).toEqual([265, 988, 523, 497, 414, 940, 802, 849, 310, 991]); // as a set
    expect(b.sample(90, 7)).toEqual([61, 45, 74, 27, 64, 17, 36]); // more than five of few
    expect(b.random()).toBe(0.1397457849666789);
  });

  test('no more than there are', () => {
    expect(() => pythonRandom(1).sample(2, 3)).toThrowError('sample: expected at most 2 of 2, got 3.');
  });
});
