/**
 * From a GGUF file's tensors to those of the Hugging Face checkpoint that it was made from. Besides their names, llama.cpp's
 * converter changes three things, which are undone here:
 *
 *     llama   rows of q and k: the two halves that the rotary embedding pairs are interleaved    [halves, half] -> [half, halves]
 *     gemma   weights of norms: 1 + w
 *     phi     q, k and v: sometimes one matrix
 *
 * The other architectures keep their halves, as ggml rotates them without interleaving.
 */
import { FormatError } from './errors.ts';
import type { GgufTensor } from './gguf.ts';
import { ggmlTypeInfo } from './gguf-blocks.ts';

/** A tensor of the checkpoint, as a part of one in the file. */
export interface GgufView {
  readonly source: GgufTensor;
  /** Outermost first. */
  readonly shape: readonly number[];
  /** The first row of the source that belongs to it. */
  readonly firstRow: number;
  /** If its rows are interleaved, in how many heads. */
  readonly heads?: number;
  /** What is added to every value. */
  readonly offset: number;
}

/** How many layers there are, and what the rows of q, k and v are. */
export interface ModelSizes {
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** How an architecture's names and values differ. */
interface Form {
  readonly modules: Readonly<Record<string, string>>;
  readonly finalNorm?: string;
  /** Rows of q and k are interleaved. */
  readonly interleaved?: true;
  /** Q, k and v may be one matrix. */
  readonly fused?: true;
  readonly normOffset?: number;
}

const ATTENTION = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
};
const HEAD_NORMS = { attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm' };
const GATED_MLP = { ffn_gate: 'mlp.gate_proj', ffn_up: 'mlp.up_proj', ffn_down: 'mlp.down_proj' };
const LLAMA = { ...ATTENTION, ffn_norm: 'post_attention_layernorm', ...GATED_MLP };
/** Norms on both sides of attention and MLP. */
const SANDWICH = {
  ...ATTENTION,
  ...GATED_MLP,
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};

const FORMS: Readonly<Record<string, Form>> = {
  llama: { modules: LLAMA, interleaved: true },
  qwen2: { modules: LLAMA },
  qwen3: { modules: { ...LLAMA, ...HEAD_NORMS } },
  gemma: { modules: LLAMA, normOffset: -1 },
  gemma2: { modules: SANDWICH, normOffset: -1 },
  gemma3: { modules: { ...SANDWICH, ...HEAD_NORMS }, normOffset: -1 },
  stablelm: { modules: LLAMA },
  phi2: {
    modules: { ...ATTENTION, attn_output: 'self_attn.dense', ffn_up: 'mlp.fc1', ffn_down: 'mlp.fc2' },
    finalNorm: 'model.final_layernorm',
    fused: true,
  },
};

/** The names of architectures in GGUF files that are covered. */
export const ggufArchitectures: readonly string[] = Object.keys(FORMS);

/** Tensors that are computed from the config, or are the config (`rope_freqs`). */
const COMPUTED = /^(rope_freqs|blk\.\d+\.attn_rot_embd)\.weight$/;

/** A checkpoint's tensors by their Hugging Face names. Throws a `FormatError` for a tensor that the architecture does not have. */
export function ggufViews(
  architecture: string,
  tensors: ReadonlyMap<string, GgufTensor>,
  sizes: ModelSizes,
  file: string,
): ReadonlyMap<string, GgufView> {
  const form = FORMS[architecture] as Form;
  const views = new Map<string, GgufView>();
  for (const [name, source] of tensors) {
    if (COMPUTED.test(name)) continue;
    const fail = (expected: string, received: string): never => {
      throw new FormatError({ file, where: `tensor '${name}'`, expected, received });
    };
    const parts = partsOf(name, form, sizes) ?? fail(`a tensor of a ${architecture}`, 'another');
    const total = source.shape[0] as number;
    if (parts.length > 1) checkDivision(source, parts, fail);
    for (const { name: target, rows = total, firstRow = 0, heads, offset = 0 } of parts) {
      if (views.has(target)) fail(`one tensor for '${target}'`, 'another');
      if (heads && total % (2 * heads) !== 0) fail(`${heads} heads of even size`, `${total} rows`);
      const shape = [rows, ...source.shape.slice(1)];
      views.set(target, { source, shape, firstRow, ...(heads && { heads }), offset });
    }
  }
  return views;
}

/** A tensor of the checkpoint, in one of the file: all of it unless it says which rows. */
interface Part {
  readonly name: string;
  readonly firstRow?: number;
  readonly rows?: number;
  readonly heads?: number;
  readonly offset?: number;
}

/** What a tensor of the file holds, or nothing if the architecture has no such tensor. */
function partsOf(name: string, form: Form, sizes: ModelSizes): readonly Part[] | undefined {
  const { modules, finalNorm = 'model.norm', interleaved, fused, normOffset = 0 } = form;
  const [, layer, kind, suffix] = /^(?:blk\.(0|[1-9]\d*)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  if (kind === undefined) return undefined;
  const offset = suffix === 'weight' && kind.endsWith('norm') ? normOffset : 0;
  if (layer === undefined) {
    if (kind === 'token_embd' && suffix === 'weight') return [{ name: 'model.embed_tokens.weight' }];
    if (kind === 'output_norm') return [{ name: `${finalNorm}.${suffix}`, offset }];
    return kind === 'output' ? [{ name: `lm_head.${suffix}` }] : undefined;
  }
  if (Number(layer) >= sizes.layers) return undefined;
  const nameOf = (module: string): string => `model.layers.${layer}.${module}.${suffix}`;
  if (fused && kind === 'attn_qkv') return dividedQkv(nameOf, sizes);
  const module = Object.hasOwn(modules, kind) ? modules[kind] : undefined;
  if (module === undefined) return undefined;
  const heads = interleaved && { attn_q: sizes.heads, attn_k: sizes.kvHeads }[kind];
  return [{ name: nameOf(module), offset, ...(heads && { heads }) }];
}

function dividedQkv(nameOf: (module: string) => string, { heads, kvHeads, headDim }: ModelSizes): readonly Part[] {
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  return [
    { name: nameOf('self_attn.q_proj'), firstRow: 0, rows: q },
    { name: nameOf('self_attn.k_proj'), firstRow: q, rows: kv },
    { name: nameOf('self_attn.v_proj'), firstRow: q + kv, rows: kv },
  ];
}

function checkDivision(
  source: GgufTensor,
  parts: readonly Part[],
  fail: (expected: string, received: string) => never,
) {
  const expected = parts.reduce((sum, { rows = 0 }) => sum + rows, 0);
  const rows = source.shape[0] as number;
  if (rows !== expected) fail(`${expected} rows of q, k and v`, `${rows}`);
  // Rows of a matrix are whole blocks; the numbers of a bias need not be.
  if (source.shape.length === 1 && ggmlTypeInfo(source.type).block > 1) fail('a bias that can be divided', source.type);
}

/**
 * Where a row of the checkpoint lies in the file: `heads` times, row `[side, i]` of two halves is row `[i, side]`.
 *
 * @example
 * [0, 1, 2, 3].map((row) => interleavedRow(row, 4)); // => [0, 2, 1, 3]
 */
export function interleavedRow(row: number, headDim: number): number {
  const half = headDim / 2;
  const inHead = row % headDim;
  return row - inHead + (inHead % half) * 2 + Math.floor(inHead / half);
}
