/**
 * The main job on the small llama that lies in this repository: calibrate, smooth, learn, round to integers, export, and measure
 * what each method is worth, in float, simulated, and in integers.
 *
 *     pnpm demo
 */
import { fileURLToPath } from 'node:url';
import { METHODS } from '@mobilequant/calibration';
import { alignedTable } from '@mobilequant/evaluator';
import { recipes } from '@mobilequant/quantizer';
import { nodeRuntime } from '@mobilequant/tracer/node';
import {
  compareMethods,
  comparisonTable,
  duration,
  type MethodComparison,
  randomSamples,
  readModel,
} from 'mobilequant';
import { MODEL } from './tiny-llama/files.ts';
import { generateText, SPLITS } from './tiny-llama/generator.ts';

export interface DemoOptions {
  /** Model directory. */
  readonly model?: string;
  /** Where everything is written. */
  readonly out?: string;
  /** Samples of 256 tokens, for statistics and for learning. */
  readonly samples?: number;
  readonly epochs?: number;
  /** Windows of 256 tokens to measure. */
  readonly windows?: number;
  readonly report?: (line: string) => void;
}

const TOKENS = 256;

/** Runs every method under both recipes. */
export async function run({
  model: directory = fileURLToPath(MODEL),
  out = fileURLToPath(new URL('../out/demo', import.meta.url)),
  samples = 24,
  epochs = 6,
  windows = 24,
  report = () => {},
}: DemoOptions = {}): Promise<MethodComparison> {
  const model = await readModel(directory);
  const tokenizer = await model.checkpoint.tokenizer();
  const tokensOf = (seed: number, count: number) =>
    tokenizer.encode(generateText({ seed, characters: 6 * TOKENS * count }));

  const source = { kind: 'text', tokens: tokensOf(SPLITS.calibration, 2 * samples) } as const;
  return compareMethods(
    nodeRuntime({ threads: 2 }),
    out,
    {
      model,
      recipes: [recipes.w8a8, recipes.w4a8],
      methods: METHODS,
      calibration: randomSamples(source, { samples, tokens: TOKENS, seed: 1 }),
      training: randomSamples(source, { samples, tokens: TOKENS, seed: 2 }),
      text: tokensOf(SPLITS.test, windows),
      window: { tokens: TOKENS, windows, decode: (ids) => tokenizer.decode(ids) },
    },
    { epochs, resume: true, onStage: report },
  );
}

if (import.meta.main) {
  const start = performance.now();
  const out = process.argv[2] ?? 'out/demo';
  const found = await run({ out, report: (line) => console.error(line) });
  console.log(
    `\nPerplexity of generated text, integer models run by ONNX Runtime:\n\n${alignedTable(comparisonTable(found))}\n`,
  );
  const best = found.results.toSorted((a, b) => a.integer - b.integer).find(({ recipe }) => recipe === 'w4a8');
  console.log(
    `The models lie in ${out}, the best 4-bit one in ${best?.directory}/onnx/model.onnx. ${duration((performance.now() - start) / 1000)} in all.`,
  );
}
