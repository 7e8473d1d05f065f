/**
 * A model too large for one protobuf, for `large.ts`: a quantized directory's with the weights of its layers left in float.
 *
 *     node bench/large-export.ts write QUANTIZED OUT     exports it
 *     node bench/large-export.ts run QUANTIZED OUT       runs the export on a text, beside the simulated model
 */
import { join } from 'node:path';
import { createDecoder, languageModel, type QuantizedModel, simulatedReading } from '@mobilequant/core';
import { decibels } from '@mobilequant/evaluator';
import { onnxTarget } from '@mobilequant/exporter';
import { writeExport } from '@mobilequant/exporter/node';
import { nodeRuntime } from '@mobilequant/tracer/node';
import { readQuantized } from 'mobilequant';

const TOKENS = 16;

const [verb, quantized, out] = process.argv.slice(2) as [string, string, string];
const read = await readQuantized(quantized);
const model: QuantizedModel = {
  ...read,
  encodings: new Map([...read.encodings].filter(([site]) => !/(_proj|w\d|lm_head)\.weight$/.test(site))),
};

if (verb === 'write') {
  const written = await writeExport(out, await onnxTarget.export(model, { tokens: TOKENS }));
  console.log(`${([...written.values()].reduce((sum, bytes) => sum + bytes, 0) / 1e9).toFixed(2)} GB`);
} else {
  const runtime = nodeRuntime({ threads: 2 });
  const tokens = Int32Array.from({ length: TOKENS }, (_, i) => (i * 7919) % model.config.vocab);
  const program = await runtime.load(join(out, 'model.onnx'));
  const { logits } = await program.run({ input_ids: { data: tokens, shape: [TOKENS] } });
  await program.release();
  const reading = simulatedReading(model.encodings);
  const wanted = await languageModel(createDecoder(runtime, model.config, model.weights, { reading })).logits(tokens);
  const found = logits?.data as Float32Array;
  const power = (x: Float32Array): number => x.reduce((sum, value) => sum + value * value, 0);
  const noise = power(wanted.map((value, i) => value - (found[i] as number)));
  console.log(`${decibels(power(wanted), noise).toFixed(0)} dB beside the simulated model`);
}
