/**
 * The graphs that prepare what the device's take, on the processor: embeddings and what positions say, as integers.
 */
import { isSliding, type QuantizedModel, ropeTables } from '@mobilequant/core';
import { elementCode, type Graph, type Initializer, initializer, type Node, type ValueInfo } from '@mobilequant/graph';
import { quantize } from '@mobilequant/quantizer';
import { bytesOf } from './bytes-of.ts';
import type { LayerKind } from './decoder-assembly.ts';
import { encodingOfGrid, type Grid, integerType } from './device-grid.ts';
import { MASK_ZERO_POINT } from './quantize-operators.ts';

/** Levels of a mask: that of 0, and the one that hides a score. */
const [OPEN, CLOSED] = [MASK_ZERO_POINT, 0];

/** Both 1 and 0 are levels. */
export const ROTARY_GRID: Grid = { bits: 16, scale: 1 / 32767, zeroPoint: 32768 };

export const HIDDEN = 'hidden_states';

/** One text, or what comes behind the entries of a cache. */
export interface TextShape {
  readonly tokens: number;
  /** Entries of the cache, those of the prefix among them; 0 where there is none, and the text follows the prefix. */
  readonly past: number;
}

/** A value that depends on positions alone. */
export interface Positional extends ValueInfo {
  /** None for a mask, whose depth depends on the scores. */
  readonly grid?: Grid;
  readonly shape: readonly number[];
}

/** What positions say to each kind of layer, as the device takes it. */
export function positionalInputs(
  { config }: QuantizedModel,
  kinds: readonly LayerKind[],
  { tokens, past }: TextShape,
): Positional[] {
  const before = past > 0 ? past : config.prefix.length;
  return kinds.flatMap(({ names: { cos, sin, mask } }) => [
    ...[cos, sin].map((name) => ({
      name,
      grid: ROTARY_GRID,
      shape: [tokens, config.headDim],
      type: integerType(ROTARY_GRID),
    })),
    { name: mask, shape: [1, tokens, before + tokens], type: 'uint16' as const },
  ]);
}

/** Nodes and constants, in the order in which they were asked for. */
class Drawing {
  readonly nodes: Node[] = [];
  readonly initializers = new Map<string, Initializer>();

  constant(made: Initializer): string {
    this.initializers.set(made.name, made);
    return made.name;
  }

  int32(name: string, shape: readonly number[], values: ArrayLike<number>): string {
    return this.constant(initializer(name, 'int32', shape, Int32Array.from(values)));
  }

  levels(name: string, grid: Grid, shape: readonly number[], values: Float32Array): string {
    const levels = quantize(values, encodingOfGrid(grid)) as Uint16Array;
    return this.constant(initializer(name, integerType(grid), shape, levels));
  }

  node(op: string, inputs: readonly string[], output: string, attributes: Node['attributes'] = {}): string {
    this.nodes.push({ op, domain: '', inputs, outputs: [output], attributes });
    return output;
  }

  graph(name: string, inputs: readonly ValueInfo[], outputs: readonly ValueInfo[]): Graph {
    const { nodes, initializers } = this;
    return { name, inputs, outputs, nodes, initializers, values: new Map() };
  }
}

export interface InputsGraphOptions extends TextShape {
  /** Of the hidden states. */
  readonly grid: Grid;
  readonly kinds: readonly LayerKind[];
  readonly positional: readonly Positional[];
}

/**
 * Looks embeddings up, as integers, and gives what positions say.
 *
 * `input_ids` int32 `[tokens]`, and with a cache `past_length` int32 `[1]`: entries of it that hold something, those of the prefix among
 * them → the inputs of the device's graph, but for the cache.
 */
export function inputsGraph(
  { config, weights }: QuantizedModel,
  { tokens, past, grid, kinds, positional }: InputsGraphOptions,
): Graph {
  const drawing = new Drawing();
  const embeddings = drawing.constant({
    name: 'embeddings',
    type: integerType(grid),
    shape: [config.vocab, config.hidden],
    data: async () => bytesOf(quantize(await weights.read('model.embed_tokens.weight'), encodingOfGrid(grid))),
  });
  drawing.node('Gather', [embeddings, 'input_ids'], HIDDEN);

  const steps = drawing.int32('steps', [tokens], [...Array(tokens).keys()]);
  const start = past > 0 ? LENGTH : drawing.int32('start', [1], [config.prefix.length]);
  const positions = drawing.node('Add', [steps, start], 'positions');
  for (const { names, layer } of kinds) {
    const count = past > 0 ? past + tokens : config.prefix.length + tokens;
    const tables = ropeTables(config, count, 0, layer);
    for (const kind of ['cos', 'sin'] as const) {
      const table = drawing.levels(`${names[kind]}.table`, ROTARY_GRID, [count, config.headDim], tables[kind]);
      drawing.node('Gather', [table, positions], names[kind]);
    }
    const window = isSliding(config, layer) ? config.sliding?.window : undefined;
    drawMask(drawing, names.mask, { tokens, past: past > 0 ? past : config.prefix.length, positions, start, window });
  }
  const ids: ValueInfo = { name: 'input_ids', type: 'int32', shape: [tokens] };
  const length: ValueInfo = { name: LENGTH, type: 'int32', shape: [1] };
  return drawing.graph(
    past > 0 ? 'decode-inputs' : 'prefill-inputs',
    [ids, ...(past > 0 ? [length] : [])],
    [
      { name: HIDDEN, type: integerType(grid), shape: [tokens, config.hidden] },
      ...positional.map(({ name, type, shape }): ValueInfo => ({ name, type, shape })),
    ],
  );
}

const LENGTH = 'past_length';

/**
 * Where a query may look: an entry of the cache that holds something, or a token of the text up to itself, no further back than the window.
 *
 *     position of key j      j in the cache, start + j - past in the text
 *     visible                filled and position of key ≤ position of query < position of key + window
 */
function drawMask(
  drawing: Drawing,
  mask: string,
  {
    tokens,
    past,
    positions,
    start,
    window,
  }: TextShape & { readonly positions: string; readonly start: string; readonly window: number | undefined },
): void {
  const width = past + tokens;
  const own = (name: string): string => `${mask}.${name}`;
  const keys = Array.from({ length: width }, (_, j) => j);
  const ofText = keys.map((j) => Number(j >= past));
  const offsets = drawing.int32(
    own('offsets'),
    [width],
    keys.map((j) => (j >= past ? j - past : j)),
  );
  const inText = drawing.int32(own('in_text'), [width], ofText);
  const ahead = drawing.node('Mul', [inText, start], own('ahead'));
  const keyPositions = drawing.node('Add', [offsets, ahead], own('key_positions'));

  const endless = drawing.int32(
    own('endless'),
    [width],
    ofText.map((text) => text * 2 ** 30),
  );
  const end = drawing.node('Add', [endless, start], own('end'));
  const filled = drawing.node('Less', [keyPositions, end], own('filled'));

  const column = drawing.constant(initializer(own('column'), 'int64', [2], BigInt64Array.of(-1n, 1n)));
  const queries = drawing.node('Reshape', [positions, column], own('queries'));
  const causal = drawing.node('LessOrEqual', [keyPositions, queries], own('causal'));
  let visible = drawing.node('And', [filled, causal], own('visible'));
  if (window !== undefined) {
    const span = drawing.int32(own('window'), [1], [window]);
    const last = drawing.node('Add', [keyPositions, span], own('last'));
    const near = drawing.node('Less', [queries, last], own('near'));
    visible = drawing.node('And', [visible, near], own('visible_near'));
  }
  const open = drawing.int32(own('open'), [], [OPEN]);
  const closed = drawing.int32(own('closed'), [], [CLOSED]);
  const levels = drawing.node('Where', [visible, open, closed], own('levels'));
  const rows = drawing.node('Cast', [levels], own('rows'), { to: elementCode('uint16') });
  const shape = drawing.constant(
    initializer(own('shape'), 'int64', [3], BigInt64Array.of(1n, BigInt(tokens), BigInt(width))),
  );
  drawing.node('Reshape', [rows, shape], mask);
}
