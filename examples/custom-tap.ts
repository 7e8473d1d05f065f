/**
 * A tap of one's own: the decoder is written once, and what happens at its sites is up to who runs it.
 *
 * This one measures how heavy the tails of each site are, the largest value over the root mean square: what makes a site
 * hard to quantize with one scale.
 *
 *     pnpm exec node examples/custom-tap.ts
 */
import { fileURLToPath } from 'node:url';
import { block, contextValues, embed, readLayer, specsOf, type Tap } from '@mobilequant/core';
import type { Value } from '@mobilequant/tracer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import * as tf from '@tensorflow/tfjs';
import { readModel } from 'mobilequant';
import { MODEL } from './tiny-llama/files.ts';
import { generateText, SPLITS } from './tiny-llama/generator.ts';

/** Reports max |x| / rms(x) of every activation, and changes nothing. */
function crestFactors(report: Record<string, tf.Tensor>): Tap {
  return {
    weight: (_, w) => w,
    activation(site, x) {
      report[`crest ${site}`] = tf.div(tf.max(tf.abs(x)), tf.sqrt(tf.mean(tf.square(x))));
      return x;
    },
  };
}

/** The crest factor of every site of every layer on a short text. */
export async function run(): Promise<Map<string, number>> {
  const { checkpoint, config, weights } = await readModel(fileURLToPath(MODEL));
  const tokenizer = await checkpoint.tokenizer();
  const tokens = tokenizer.encode(generateText({ seed: SPLITS.test, characters: 1000 })).slice(0, 128);

  const context = contextValues(config, tokens.length);
  const first = await readLayer(weights, 0);
  const program = await nodeRuntime().program(
    (inputs) => {
      const report: Record<string, tf.Tensor> = {};
      return { y: block(inputs.x, inputs, inputs, config, { tap: crestFactors(report) }).x, ...report };
    },
    { x: [tokens.length, config.hidden], ...specsOf(context), ...specsOf(first) },
  );

  const found = new Map<string, number>();
  let x: Value = await embed(config, weights, tokens);
  for (let layer = 0; layer < config.layers; layer++) {
    const results = await program.run({ ...context, ...(await readLayer(weights, layer)), x });
    for (const [name, { data }] of Object.entries(results)) {
      if (name.startsWith('crest '))
        found.set(`model.layers.${layer}.${name.slice('crest '.length)}`, data[0] as number);
    }
    x = results.y;
  }
  return found;
}

if (import.meta.main) {
  const hardest = [...(await run())].toSorted(([, a], [, b]) => b - a).slice(0, 10);
  for (const [site, crest] of hardest) console.log(`${crest.toFixed(1).padStart(8)}  ${site}`);
}
