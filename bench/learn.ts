/**
 * What does one end-to-end learning step cost? A model of SmolLM2-135M's size with random weights (its 30 blocks),
 * T = 512, W4A8 with LET, LWC and LRL: time against one block's forward + vjp, and peak memory.
 *
 *     pnpm bench learn [threads] [layers]
 */
import { endToEndGradients, type LayerLearnables } from '@mobilequant/calibration';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { blockUnderTest, SMOLLM2 } from './llama-block.ts';
import { atMost, printGoals, race } from './measure.ts';

const TOKENS = 512;
const threads = Number(process.argv[2] ?? 1);
const layers = Number(process.argv[3] ?? 30);
const config = { ...SMOLLM2, layers };
const runtime = nodeRuntime({ threads });

const { programs, sample, weights } = await blockUnderTest(runtime, config, TOKENS, 'paper-w4a8');
const learnables = Array.from({ length: layers }, (_, layer) => programs.learnables(layer));
const shape = [TOKENS, config.hidden];
const x = { data: await weights.readRows('model.embed_tokens.weight', sample), shape };
const dy = { data: new Float32Array(x.data.length).fill(1e-3), shape };
const target = new Float32Array(x.data.length);
const first = learnables[0] as LayerLearnables;

const times = await race(
  [
    { name: 'forward', run: () => programs.forward(0, x, first) },
    { name: 'vjp', run: () => programs.vjp(0, x, dy, first) },
    {
      name: 'step',
      run: () => endToEndGradients({ programs, learnables, prepare: () => {} }, { config, weights }, sample, target),
    },
  ],
  3,
  1,
);
const block = (times['forward'] as number) + (times['vjp'] as number);
const peak = (process.resourceUsage().maxRSS * 1024) / 1e9; // kilobytes of 1024 → gigabytes of 1000³
console.log(
  `${layers} blocks, T = ${TOKENS}, ${threads} thread(s): step ${((times['step'] as number) / 1000).toFixed(2)} s, one block's forward + vjp ${block.toFixed(0)} ms`,
);
printGoals([
  atMost("step / one block's forward + vjp", (times['step'] as number) / block, 35),
  atMost('peak memory, GB (weights included)', peak, 1.5),
]);
