import { describe, expect, test } from 'vitest';
import { adamW, type Tree } from './adamw.ts';
import { learningRateAt } from './schedule.ts';

/** One parameter, as the paper writes it (Loshchilov and Hutter, Algorithm 2), in float64. */
function textbook(
  start: number,
  gradients: readonly number[],
  { rate, decay }: { rate: number; decay: number },
): number {
  let [p, m, v] = [start, 0, 0];
  gradients.forEach((g, i) => {
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g ** 2;
    const corrected = [m / (1 - 0.9 ** (i + 1)), v / (1 - 0.999 ** (i + 1))] as const;
    p -= rate * (corrected[0] / (Math.sqrt(corrected[1]) + 1e-8) + decay * p);
  });
  return p;
}

describe('adamW', () => {
  const gradients = [0.3, -0.2, 0.05, 1.5, -0.7, 0];

  test.each([0, 0.1])('equals the textbook with weight decay %d', (weightDecay) => {
    const optimizer = adamW({ weightDecay });
    const parameters: Tree = { a: Float32Array.of(1, -2), b: Float32Array.of(0.5) };
    const state = optimizer.init(parameters);
    for (const g of gradients)
      optimizer.update(parameters, { a: Float32Array.of(g, 10 * g), b: Float32Array.of(-g) }, state, (name) =>
        name === 'a' ? 0.01 : 0.001,
      );
    expect(state.step).toBe(gradients.length);
    const scaled = (factor: number) => gradients.map((g) => factor * g);
    expect(parameters['a']?.[0]).toBeCloseTo(textbook(1, gradients, { rate: 0.01, decay: weightDecay }), 6);
    expect(parameters['a']?.[1]).toBeCloseTo(textbook(-2, scaled(10), { rate: 0.01, decay: weightDecay }), 6);
    expect(parameters['b']?.[0]).toBeCloseTo(textbook(0.5, scaled(-1), { rate: 0.001, decay: weightDecay }), 6);
  });

  test('the first step is the learning rate, whatever the size of the gradient', () => {
    const optimizer = adamW();
    const parameters: Tree = { a: Float32Array.of(0, 0, 0) };
    optimizer.update(parameters, { a: Float32Array.of(1e-4, -3, 1e5) }, optimizer.init(parameters), () => 0.5);
    expect([...(parameters['a'] as Float32Array)].map((v) => Number(v.toFixed(3)))).toEqual([-0.5, 0.5, -0.5]);
  });

  test('leaves a parameter that has no gradient', () => {
    const optimizer = adamW({ weightDecay: 0.1 });
    const parameters: Tree = { a: Float32Array.of(2) };
    optimizer.update(parameters, {}, optimizer.init(parameters), () => 1);
    expect(parameters['a']?.[0]).toBe(2);
  });
});

describe('learningRateAt', () => {
  const rate = { from: 1, to: 0.1 };

  test('falls along half a cosine from the first step, and stops short of the end', () => {
    const rates = [0, 3, 6, 11].map((step) => learningRateAt(rate, step, 12));
    expect(rates.map((r) => Number(r.toFixed(6)))).toEqual([1, 0.868198, 0.55, 0.115333]);
  });

  test('rises linearly during warm-up, then falls', () => {
    expect([0, 1, 2, 3, 4].map((step) => learningRateAt(rate, step, 12, 4))).toEqual([0.25, 0.5, 0.75, 1, 1]);
    expect(learningRateAt(rate, 8, 12, 4)).toBeCloseTo(0.55, 12);
  });
});
