/**
 * Where quantizers can sit in a decoder: a site is a module's path and one of its ports.
 */

/** Names of a module's ends; `input2` is the second operand of a matmul, or the sigmoid inside SiLU. */
export const ports = ['input', 'input2', 'weight', 'output'] as const;
export type Port = (typeof ports)[number];

const norm = ['input', 'weight', 'output'] as const;
const linear = ['input', 'weight', 'output'] as const;
const pair = ['input', 'input2', 'output'] as const;

/** Modules of a layer, in the order of computation, with the ports that they have. */
const layerModules: readonly (readonly [module: string, ports: readonly Port[]])[] = [
  ['input_layernorm', norm],
  ['self_attn.q_proj', linear],
  ['self_attn.k_proj', linear],
  ['self_attn.v_proj', linear],
  ['self_attn.qk_bmm', pair],
  ['self_attn.pv_bmm', pair],
  ['self_attn.o_proj', linear],
  ['post_attention_layernorm', norm],
  ['mlp.w1', linear],
  ['mlp.w3', linear],
  ['mlp.act_fn', pair],
  ['mlp.w2', linear],
];

/** The sites of one layer, relative to it: `self_attn.q_proj.output`. */
export const layerSites: readonly string[] = layerModules.flatMap(([module, its]) =>
  its.map((port) => `${module}.${port}`),
);

/** Every site of a decoder of `layers` layers, by full name, in the order of computation. */
export function decoderSites(layers: number): string[] {
  return [
    'model.embed_tokens.weight',
    'model.embed_tokens.output',
    ...Array.from({ length: layers }, (_, n) => layerSites.map((site) => `model.layers.${n}.${site}`)).flat(),
    ...norm.map((port) => `model.norm.${port}`),
    ...linear.map((port) => `lm_head.${port}`),
  ];
}

/** A site's module and port; the port is what follows the last dot. */
export function splitSite(site: string): { readonly module: string; readonly port: string } {
  const dot = site.lastIndexOf('.');
  return { module: site.slice(0, Math.max(dot, 0)), port: site.slice(dot + 1) };
}
