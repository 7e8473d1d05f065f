/**
 * The built-in recipes, as data.
 *
 * `paper-*` are the published ones (method, section 3) and learn as the reference does. `w8a8` and `w4a8` are for devices
 * (the default): weights are symmetric per output channel, which every integer kernel wants; keys and values are symmetric, so that
 * a cache needs no zero point; and sites that a device widens anyway have 16 bits (`widened`). `*-strict` keep the paper's 8 bits there.
 */
import { RecipeError } from './errors.ts';
import type { Recipe, Rule } from './recipe.ts';
import type { Granularity, QuantizerSpec } from './spec.ts';

export type RecipeName =
  | 'w8a8'
  | 'w4a8'
  | 'w8a8-strict'
  | 'w4a8-strict'
  | 'paper-w8a8'
  | 'paper-w4a8'
  | 'paper-w4a8-sym';

const tensor: Granularity = { kind: 'tensor' };
const channel: Granularity = { kind: 'channel' };

const a8: QuantizerSpec = { bits: 8, symmetric: false, granularity: tensor };
const a8Symmetric: QuantizerSpec = { bits: 8, symmetric: true, granularity: tensor };
const a16: QuantizerSpec = { bits: 16, symmetric: false, granularity: tensor };
const sigmoid: QuantizerSpec = { ...a8, range: { min: 0, max: 1 } };
const sigmoid16: QuantizerSpec = { ...a16, range: { min: 0, max: 1 } };

/** One rule for each of `sites` of every layer. */
function everyLayer(spec: QuantizerSpec | null, ...sites: readonly string[]): Rule[] {
  return sites.map((site) => ({ site: `model.layers.*.${site}`, spec }));
}

/** Activations and norm weights, the same in all of the paper's recipes. */
const activations: readonly Rule[] = [
  ...everyLayer(a8, 'input_layernorm.output', 'post_attention_layernorm.output'),
  ...everyLayer(a8, 'self_attn.q_proj.output', 'self_attn.k_proj.output', 'self_attn.v_proj.output'),
  ...everyLayer(a8, 'self_attn.qk_bmm.input', 'self_attn.qk_bmm.input2'),
  ...everyLayer(a8, 'self_attn.pv_bmm.input2', 'self_attn.pv_bmm.output'),
  ...everyLayer(a8, 'mlp.w1.output', 'mlp.w3.output', 'mlp.act_fn.output', 'mlp.w2.input'),
  ...everyLayer(sigmoid, 'mlp.act_fn.input2'),
  // The residual stream, and the softmax on both sides.
  ...everyLayer(a16, 'input_layernorm.input', 'post_attention_layernorm.input'),
  ...everyLayer(a16, 'self_attn.o_proj.output', 'mlp.w2.output'),
  ...everyLayer(a16, 'self_attn.qk_bmm.output', 'self_attn.pv_bmm.input'),
  ...everyLayer(a16, 'input_layernorm.weight', 'post_attention_layernorm.weight'),
  // Norms that only some decoders have: of queries and keys, and before a block's output joins the residual stream.
  ...everyLayer(a8, 'self_attn.q_norm.output', 'self_attn.k_norm.output'),
  ...everyLayer(a16, 'self_attn.q_norm.weight', 'self_attn.k_norm.weight'),
  ...everyLayer(a16, 'attention_output_layernorm.weight', 'mlp_output_layernorm.weight'),
  ...everyLayer(a16, 'attention_output_layernorm.output', 'mlp_output_layernorm.output'),
];

/** The weights of all linears of every layer. */
function weights(bits: number, symmetric: boolean, granularity: Granularity): Rule[] {
  return everyLayer({ bits, symmetric, granularity }, 'self_attn.*_proj.weight', 'mlp.w*.weight');
}

/** What a device changes in the activations. */
const deviceActivations: readonly Rule[] = [
  ...everyLayer(a8Symmetric, 'self_attn.k_proj.output', 'self_attn.k_norm.output', 'self_attn.qk_bmm.input2'),
  ...everyLayer(a8Symmetric, 'self_attn.v_proj.output', 'self_attn.pv_bmm.input2'),
  { site: 'lm_head.weight', spec: { bits: 8, symmetric: true, granularity: channel } },
];

/**
 * Sites whose values a device brings to 16 bits before they are used: the products with keys, of o_proj and of w2 have 16-bit outputs, so
 * they take 16-bit inputs. The 8-bit outputs of q_proj, w1 and w3 are widened once, before the rotary embedding and the activation
 * instead of behind them: no conversion more, only element-wise operators that are as wide as what they lead to.
 */
const widened: readonly Rule[] = [
  ...everyLayer(a16, 'self_attn.qk_bmm.input', 'self_attn.pv_bmm.output'),
  ...everyLayer(a16, 'mlp.act_fn.output', 'mlp.w2.input'),
  ...everyLayer(sigmoid16, 'mlp.act_fn.input2'),
];

/** The built-in recipes by name. */
export const recipes: Readonly<Record<RecipeName, Recipe>> = {
  w8a8: {
    name: 'w8a8',
    description:
      '8-bit weights for devices: symmetric per output channel, symmetric keys and values, 16 bits where they cost nothing',
    rules: [...activations, ...weights(8, true, channel), ...deviceActivations, ...widened],
    conventions: 'exact',
  },
  w4a8: {
    name: 'w4a8',
    description:
      '4-bit weights for devices: symmetric per output channel, symmetric keys and values, 16 bits where they cost nothing',
    rules: [...activations, ...weights(4, true, channel), ...deviceActivations, ...widened],
    conventions: 'exact',
  },
  'w8a8-strict': {
    name: 'w8a8-strict',
    description: 'w8a8 with 8 bits at every site where the paper has them',
    rules: [...activations, ...weights(8, true, channel), ...deviceActivations],
    conventions: 'exact',
  },
  'w4a8-strict': {
    name: 'w4a8-strict',
    description: 'w4a8 with 8 bits at every site where the paper has them',
    rules: [...activations, ...weights(4, true, channel), ...deviceActivations],
    conventions: 'exact',
  },
  'paper-w8a8': {
    name: 'paper-w8a8',
    description: 'The paper’s W8A8: 8-bit weights, asymmetric per tensor (w2 per output channel)',
    rules: [
      ...activations,
      ...weights(8, false, tensor),
      ...everyLayer({ bits: 8, symmetric: false, granularity: channel }, 'mlp.w2.weight'),
    ],
    conventions: 'reference',
  },
  'paper-w4a8': {
    name: 'paper-w4a8',
    description: 'The paper’s W4A8: 4-bit weights, asymmetric per output channel',
    rules: [...activations, ...weights(4, false, channel)],
    conventions: 'reference',
  },
  'paper-w4a8-sym': {
    name: 'paper-w4a8-sym',
    description: 'The paper’s W4A8-sym: 4-bit weights, symmetric per output channel',
    rules: [...activations, ...weights(4, true, channel)],
    conventions: 'reference',
  },
};

/** Option of the paper: scores (the softmax input, before scaling) in 8 bits. */
export const softmaxInput8: readonly Rule[] = everyLayer(a8, 'self_attn.qk_bmm.output');

/** Option of the paper: probabilities (the softmax output) in 8 bits. */
export const softmaxOutput8: readonly Rule[] = everyLayer(a8, 'self_attn.pv_bmm.input');

/** Option of the paper: the two projections of the gated MLP in 16 bits. */
export const gateOutput16: readonly Rule[] = everyLayer(a16, 'mlp.w1.output', 'mlp.w3.output');

/**
 * The built-in recipe of a name.
 *
 * @throws RecipeError, listing the names there are.
 */
export function recipeByName(name: string): Recipe {
  if (Object.hasOwn(recipes, name)) return recipes[name as RecipeName];
  throw new RecipeError({
    where: 'recipe',
    expected: `one of ${Object.keys(recipes).join(', ')}`,
    received: `"${name}"`,
    advice: 'Any other recipe is a JSON file that says what it extends.',
  });
}
