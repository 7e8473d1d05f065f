import { fileURLToPath } from 'node:url';
import { layerSites } from '@mobilequant/quantizer';
import { readModel } from 'mobilequant';
import { expect, test } from 'vitest';
import { run as runRecipe } from './custom-recipe.ts';
import { run as runTap } from './custom-tap.ts';
import { MODEL } from './tiny-llama/files.ts';

test('a recipe of groups and exceptions quantizes the small llama at little loss', async () => {
  const { float, quantized } = await runRecipe();
  expect(quantized).toBeGreaterThan(float);
  expect(quantized / float).toBeLessThan(1.05);
});

test('a tap of crest factors sees every site, and that the input of w2 is the hardest', async () => {
  const crests = await runTap();
  const { config } = await readModel(fileURLToPath(MODEL));
  expect(crests.size).toBe(4 * layerSites(config).filter((site) => !site.endsWith('.weight')).length);
  const [hardest] = [...crests].toSorted(([, a], [, b]) => b - a);
  expect(hardest?.[0]).toMatch(/mlp\.w2\.input$/);
});
