/** Folders for other runtimes: what their settings say is what the graphs are. */
import type { Graph } from '@mobilequant/graph';
import { recipes } from '@mobilequant/quantizer';
import { expect, test } from 'vitest';
import { type ExportFile, type ExportFiles, genaiTarget, type NamedGraph, transformersJsTarget } from '../src/index.ts';
import { config as llama, quantized } from './tiny-model.ts';

const settings = {
  config: { model_type: 'llama', eos_token_id: 2, max_position_embeddings: 64, mobilequant: { prefix: [1] } },
  generation: { bos_token_id: 1, eos_token_id: [2, 3], do_sample: true, temperature: 0.2 },
};
const parsed = (files: ExportFiles, name: string) => JSON.parse(files.get(name) as string);
const names = (values: Graph['inputs']): string[] => values.map(({ name }) => name);

test.each([
  ['w8a8', 'q8', 'model_quantized.onnx'],
  ['w4a8', 'q4', 'model_q4.onnx'],
] as const)('transformers.js finds a model of %s as %s', async (recipe, dtype, file) => {
  const files = await transformersJsTarget.export(await quantized(recipe), { settings, context: 48 });
  expect([...files.keys()]).toEqual([`onnx/${file}`, 'config.json', 'generation_config.json']);
  expect(parsed(files, 'config.json')).toEqual({
    model_type: 'llama',
    eos_token_id: 2,
    max_position_embeddings: 48,
    'transformers.js_config': { dtype, use_external_data_format: { [file]: 1 } },
  });
  expect(parsed(files, 'generation_config.json')).toEqual(settings.generation);
  const { graph, dataSuffix } = files.get(`onnx/${file}`) as NamedGraph;
  expect(dataSuffix).toBe('_data');
  expect(names(graph.inputs).slice(0, 4)).toEqual([
    'input_ids',
    'attention_mask',
    'num_logits_to_keep',
    'past_key_values.0.key',
  ]);
  // What it does not know is taken for a dimension of 0.
  const past = graph.inputs.filter(({ name }) => name.startsWith('past_key_values.'));
  expect(past.map(({ type, shape }) => `${type} [${shape}]`)).toEqual(
    Array(2 * llama.layers).fill(`uint8 [1,${llama.kvHeads},past_sequence_length,${llama.headDim}]`),
  );
});

test('every input and output of the graph for GenAI is named by its settings', async () => {
  const files = await genaiTarget.export(await quantized('w8a8'), { settings });
  const { model, search } = parsed(files, 'genai_config.json');
  const { inputs, outputs, filename, ...sizes } = model.decoder;
  const graph = files.get(filename) as ExportFile as Graph;
  const all = (values: Record<string, string>): string[] =>
    Object.values(values).flatMap((name) =>
      name.includes('%d') ? Array.from({ length: llama.layers }, (_, layer) => name.replace('%d', `${layer}`)) : [name],
    );
  expect(all(inputs).sort()).toEqual(names(graph.inputs).sort());
  expect(all(outputs).sort()).toEqual(names(graph.outputs).sort());
  expect(sizes).toMatchObject({ head_size: 8, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 });
  expect(model).toMatchObject({ type: 'decoder', bos_token_id: 1, eos_token_id: [2, 3], pad_token_id: 2 });
  expect(model).toMatchObject({ vocab_size: llama.vocab, context_length: llama.maxPositions });
  expect(search).toMatchObject({ max_length: 64, do_sample: true, temperature: 0.2, past_present_share_buffer: false });
});

test('tokens come from config.json where nothing else says them', async () => {
  const options = { settings: { config: settings.config } };
  const model = await quantized(recipes.w8a8);
  expect(parsed(await transformersJsTarget.export(model, options), 'generation_config.json')).toEqual({
    eos_token_id: 2,
  });
  const genai = parsed(await genaiTarget.export(model, options), 'genai_config.json');
  expect(genai.model).toMatchObject({ bos_token_id: 2, eos_token_id: 2, pad_token_id: 2 });
});

test('without the settings of a checkpoint there is no folder', async () => {
  await expect(genaiTarget.export(await quantized('w8a8'))).rejects.toThrowErrorMatchingInlineSnapshot(
    `[ExportError: export: settings: expected the checkpoint's config.json, got none. Give the option \`settings\`.]`,
  );
});
