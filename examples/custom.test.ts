import { layerSites } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { run as runRecipe } from './custom-recipe.ts';
import { run as runTap } from './custom-tap.ts';

test('a recipe of groups and exceptions quantizes the small llama at little loss', async () => {
  const { float, quantized } = await runRecipe();
  expect(quantized).toBeGreaterThan(float);
  expect(quantized / float).toBeLessThan(1.05);
});

test('a tap of crest factors sees every site, and that the input of w2 is the hardest', async () => {
  const crests = await runTap();
  expect(crests.size).toBe(4 * layerSites.filter((site) => !site.endsWith('.weight')).length);
  const [hardest] = [...crests].toSorted(([, a], [, b]) => b - a);
  expect(hardest?.[0]).toMatch(/mlp\.w2\.input$/);
});
