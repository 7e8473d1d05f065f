import { describe, expect, it } from 'vitest';
import { createAdamw, learningRate } from './adamw.ts';

const options = { rate: 0.1, warmUp: 10, steps: 100, decay: 0 };

describe('learningRate', () => {
  it('rises to the rate, then falls to a twentieth', () => {
    expect(learningRate(0, options)).toBeCloseTo(0.01);
    expect(learningRate(9, options)).toBeCloseTo(0.1);
    expect(learningRate(10, options)).toBeCloseTo(0.1);
    expect(learningRate(100, options)).toBeCloseTo(0.005);
  });
});

describe('AdamW', () => {
  it('moves by the rate against the sign of the first gradient', () => {
    const parameters = new Map([['w', { shape: [2], data: Float32Array.of(1, 1) }]]);
    createAdamw(options).step(parameters, new Map([['w', Float32Array.of(0.3, -0.2)]]), 1);
    expect([...(parameters.get('w')?.data ?? [])]).toEqual([expect.closeTo(0.99, 5), expect.closeTo(1.01, 5)]);
  });

  it('pulls matrices to zero, vectors not', () => {
    const parameters = new Map([
      ['matrix', { shape: [1, 1], data: Float32Array.of(1) }],
      ['vector', { shape: [1], data: Float32Array.of(1) }],
    ]);
    const zero = new Map([...parameters.keys()].map((name) => [name, new Float32Array(1)]));
    createAdamw({ ...options, decay: 0.5 }).step(parameters, zero, 1);
    expect(parameters.get('matrix')?.data[0]).toBeCloseTo(1 - 0.01 * 0.5);
    expect(parameters.get('vector')?.data[0]).toBe(1);
  });

  it('finds the minimum of a parabola', () => {
    const parameters = new Map([['w', { shape: [1], data: Float32Array.of(5) }]]);
    const adamw = createAdamw({ ...options, rate: 0.3 });
    for (let i = 0; i < 100; i++) adamw.step(parameters, new Map([['w', parameters.get('w')?.data.map((w) => w - 2) as Float32Array]]), 1);
    expect(parameters.get('w')?.data[0]).toBeCloseTo(2, 1);
  });
});
