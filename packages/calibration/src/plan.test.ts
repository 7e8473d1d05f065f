import { recipes } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { architecture } from '../test/architectures.ts';
import { heldOutOf, presetPlan, samplesForTuning } from './plan.ts';

test('presets choose by the bits of the weights and by what can be rotated', () => {
  const [plain, sandwiched] = [architecture('llama'), architecture('gemma3')];
  expect(presetPlan('fast', recipes.w8a8, plain)).toMatchObject({
    transform: 'rotation+scales',
    rounding: 'gptq',
    tuning: 0,
    learnedRounding: 0,
  });
  expect(presetPlan('best', recipes.w4a8, plain)).toMatchObject({
    transform: 'rotation+scales',
    ranges: 'loss',
    rounding: 'gptq',
    correction: 0.5,
    gradients: 16,
    sweeps: 4,
    tuning: 160,
    learnedRounding: 0,
  });
  expect(presetPlan('fast', recipes.w8a8, sandwiched)).toMatchObject({ transform: 'scales' });
});

test('an eighth of the training samples is held out, and never more than four', () => {
  expect([1, 2, 9, 10, 28, 1000].map(heldOutOf)).toEqual([0, 1, 1, 2, 4, 4]);
  expect(heldOutOf(samplesForTuning(60))).toBe(samplesForTuning(60) - 60);
});
