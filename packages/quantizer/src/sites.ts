/**
 * Where quantizers can sit in a decoder: a site is a module's path and one of its ports.
 */

/** Names of a module's ends; `input2` is the second operand of a matmul, or the sigmoid inside SiLU. */
export const ports = ['input', 'input2', 'weight', 'output'] as const;
export type Port = (typeof ports)[number];

const norm = ['input', 'weight', 'output'] as const;
const linear = ['input', 'weight', 'output'] as const;
const pair = ['input', 'input2', 'output'] as const;

/** The switches of a decoder that decide which sites it has; the decoder's config says them all. */
export interface DecoderShape {
  readonly layers: number;
  readonly mlp: 'gated' | 'plain';
  readonly activation: string;
  readonly residual: 'sequential' | 'parallel';
  readonly outputNorms: boolean;
  readonly queryKeyNorms: boolean;
}

/** Modules of a layer, in the order of computation, with the ports that they have; some are not in every decoder. */
const layerModules: readonly (readonly [
  module: string,
  ports: readonly Port[],
  where?: (shape: DecoderShape) => boolean,
])[] = [
  ['input_layernorm', norm],
  ['self_attn.q_proj', linear],
  ['self_attn.k_proj', linear],
  ['self_attn.v_proj', linear],
  ['self_attn.q_norm', norm, (shape) => shape.queryKeyNorms],
  ['self_attn.k_norm', norm, (shape) => shape.queryKeyNorms],
  ['self_attn.qk_bmm', pair],
  ['self_attn.pv_bmm', pair],
  ['self_attn.o_proj', linear],
  ['attention_output_layernorm', norm, (shape) => shape.outputNorms],
  ['post_attention_layernorm', norm, (shape) => shape.residual === 'sequential'],
  ['mlp.w1', linear],
  ['mlp.w3', linear, (shape) => shape.mlp === 'gated'],
  ['mlp.act_fn', ['input', 'output']],
  ['mlp.act_fn', ['input2'], (shape) => shape.activation === 'silu'],
  ['mlp.w2', linear],
  ['mlp_output_layernorm', norm, (shape) => shape.outputNorms],
];

/** The sites of one layer, relative to it: `self_attn.q_proj.output`. Without a shape, all that a decoder can have. */
export const layerSites = (shape?: DecoderShape): string[] =>
  layerModules.flatMap(([module, its, where]) =>
    shape && where && !where(shape) ? [] : its.map((port) => `${module}.${port}`),
  );

/** Every site of a decoder by full name, in the order of computation; for a number of layers, all that a decoder can have. */
export function decoderSites(decoder: DecoderShape | number): string[] {
  const [layers, own] = typeof decoder === 'number' ? [decoder, layerSites()] : [decoder.layers, layerSites(decoder)];
  return [
    'model.embed_tokens.weight',
    'model.embed_tokens.output',
    ...Array.from({ length: layers }, (_, n) => own.map((site) => `model.layers.${n}.${site}`)).flat(),
    ...norm.map((port) => `model.norm.${port}`),
    ...linear.map((port) => `lm_head.${port}`),
  ];
}

/**
 * A site's name in its layer, the same in all layers; its own name where it lies in none.
 *
 * @example
 * siteInLayer('model.layers.3.mlp.w2.output'); // => 'mlp.w2.output'
 */
export const siteInLayer = (site: string): string => site.replace(/^model\.layers\.\d+\./, '');

/** A site's module and port; the port is what follows the last dot. */
export function splitSite(site: string): { readonly module: string; readonly port: string } {
  const dot = site.lastIndexOf('.');
  return { module: site.slice(0, Math.max(dot, 0)), port: site.slice(dot + 1) };
}
