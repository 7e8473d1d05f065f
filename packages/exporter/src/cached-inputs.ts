/**
 * What positions say, as nodes in front of a decoder: rotary tables and masks follow from `attention_mask` alone.
 *
 *     ordinal    of a token among those that are attended to: cumsum(attention_mask) - 1; the prefix lies before 0
 *     visible    attended to, and ordinal of the key ≤ ordinal of the query < ordinal of the key + window
 *
 * So texts may be padded on the left, and no one has to bring position ids.
 */
import { type DecoderConfig, isSliding, MASKED, ropeTables } from '@mobilequant/core';
import { elementCode, type TensorType, type ValueInfo } from '@mobilequant/graph';
import type { Assembly } from './assembly.ts';
import { layerKinds, TO_THE_END } from './decoder-assembly.ts';

export const SEQUENCE = 'sequence_length';
export const TOTAL = 'total_sequence_length';

/** The tokens as the decoder takes them, int64 `[sequence]`. */
export const IDS = 'text.ids';

/** The constant that has a row for each position of a text. */
export const tableName = (name: string): string => `${name}.table`;

/**
 * Draws them.
 *
 * @param context tokens that a text may have: rows of the tables.
 * @returns the graph's inputs: `input_ids` int64 `[1, sequence]`, `attention_mask` int64 `[1, total]`.
 */
export function drawPositions(assembly: Assembly, config: DecoderConfig, context: number): ValueInfo[] {
  const { prefix } = config;
  const ints = (name: string, values: readonly number[]): string =>
    assembly.constant(`text.${name}`, 'int64', [values.length], values);
  const node = (
    op: string,
    inputs: readonly string[],
    name: string,
    { type, shape }: TensorType,
    attributes: Readonly<Record<string, number>> = {},
  ): string => assembly.node(op, inputs, { name, type, shape }, attributes);
  const int64 = (...shape: TensorType['shape']): TensorType => ({ type: 'int64', shape });
  const bool: TensorType = { type: 'bool', shape: [SEQUENCE, ''] };

  const [zero, one, end] = [ints('zero', [0]), ints('one', [1]), ints('end', [TO_THE_END])];
  const list = ints('list', [-1]);
  const ids = node('Reshape', ['input_ids', list], IDS, int64(SEQUENCE));
  const attended = node('Reshape', ['attention_mask', list], 'text.attended', int64(TOTAL));
  const axis = assembly.constant('text.axis', 'int64', [], [0]);
  const counted = node('CumSum', [attended, axis], 'text.counted', int64(TOTAL));
  const behind = node('Sub', [counted, one], 'text.behind', int64(TOTAL));
  const ordinals = node('Max', [behind, zero], 'text.ordinals', int64(TOTAL));
  const length = node('Shape', [ids], 'text.length', int64(1));
  const first = node('Neg', [length], 'text.first', int64(1));
  const queries = node('Slice', [ordinals, first, end, zero], 'text.queries', int64(SEQUENCE));

  /** Of the prefix, and the text behind it. */
  const withPrefix = (text: string, values: readonly number[], name: string): string => {
    if (prefix.length === 0) return text;
    return node('Concat', [ints(`${name}_prefix`, values), text], `text.${name}`, int64(''), { axis: 0 });
  };
  const keys = withPrefix(
    ordinals,
    [...prefix.keys()].map((i) => i - prefix.length),
    'keys',
  );
  const attendedKeys = withPrefix(
    attended,
    prefix.map(() => 1),
    'attended_keys',
  );
  const open = node('Cast', [attendedKeys], 'text.open', { type: 'bool', shape: [''] }, { to: elementCode('bool') });
  const column = node('Unsqueeze', [queries, one], 'text.column', int64(SEQUENCE, 1));
  const before = node('LessOrEqual', [keys, column], 'text.before', bool);
  const visible = node('And', [before, open], 'text.visible', bool);
  const [seen, hidden] = [0, MASKED].map((value, i) =>
    assembly.constant(i === 0 ? 'text.seen' : 'text.hidden', 'float32', [], [value]),
  ) as [string, string];

  for (const { names, layer } of layerKinds(config)) {
    const tables = ropeTables(config, context, prefix.length, layer);
    for (const kind of ['cos', 'sin'] as const) {
      const table = assembly.constant(tableName(names[kind]), 'float32', [context, config.headDim], tables[kind]);
      node(
        'Gather',
        [table, queries],
        names[kind],
        { type: 'float32', shape: [SEQUENCE, config.headDim] },
        { axis: 0 },
      );
    }
    const own = (name: string): string => `${names.mask}.${name}`;
    let shown = visible;
    if (isSliding(config, layer)) {
      const window = assembly.constant(own('window'), 'int64', [1], [config.sliding?.window as number]);
      const last = node('Add', [keys, window], own('last'), int64(''));
      shown = node('And', [visible, node('Less', [column, last], own('near'), bool)], own('visible'), bool);
    }
    const rows = node('Where', [shown, seen, hidden], own('rows'), { type: 'float32', shape: [SEQUENCE, ''] });
    node('Unsqueeze', [rows, zero], names.mask, { type: 'float32', shape: [1, SEQUENCE, ''] });
  }
  return [
    { name: 'input_ids', type: 'int64', shape: [1, SEQUENCE] },
    { name: 'attention_mask', type: 'int64', shape: [1, TOTAL] },
  ];
}
