/** Appends operators in double precision to a graph that is being written. */
import { type ElementType, elementCode, type Initializer, initializer, type Node } from '@mobilequant/graph';
import { saturated } from './fixed-point.ts';
import type { Held } from './rules.ts';

export interface Writer {
  /** An operator; gives the name of its result. */
  node(op: string, inputs: readonly string[], attributes?: Node['attributes']): string;
  /** Numbers as doubles: one, or one for each of the last axis. */
  number(value: number | Float64Array): string;
  constant(constant: Initializer): string;
  cast(x: string, to: ElementType): string;
  /** Integers over their zero point. */
  centered(held: Held): string;
  times(x: string, factor: number | string): string;
  plus(x: string, summand: number | string): string;
  /** `floor(x + 1/2)` */
  halfUp(x: string): string;
  /** Steps as levels of a grid, under a name. */
  levels(steps: string, grid: Held['grid'], name: string): void;
}

export function createWriter(nodes: Node[], initializers: Map<string, Initializer>): Writer {
  let count = 0;
  const append = (op: string, inputs: readonly string[], output: string, attributes: Node['attributes']): string => {
    nodes.push({ op, domain: '', inputs, outputs: [output], attributes });
    return output;
  };
  const node: Writer['node'] = (op, inputs, attributes = {}) => append(op, inputs, `htp.${count++}`, attributes);
  const constant = (made: Initializer): string => {
    initializers.set(made.name, made);
    return made.name;
  };
  const number: Writer['number'] = (value) =>
    typeof value === 'number'
      ? constant(initializer(`htp.number ${value}`, 'float64', [], [value]))
      : constant(initializer(`htp.numbers ${count++}`, 'float64', [value.length], value));
  const named = (value: number | string): string => (typeof value === 'number' ? number(value) : value);
  const cast = (x: string, to: ElementType): string => node('Cast', [x], { to: elementCode(to) });
  const times = (x: string, factor: number | string): string => node('Mul', [x, named(factor)]);
  const plus = (x: string, summand: number | string): string => node('Add', [x, named(summand)]);
  return {
    node,
    number,
    constant,
    cast,
    times,
    plus,
    centered: ({ integers, grid }) => plus(cast(integers, 'float64'), -grid.zeroPoint),
    halfUp: (x) => node('Floor', [plus(x, 0.5)]),
    levels(steps, grid, name) {
      const ends = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY].map((end) => number(saturated(end, grid)));
      const level = node('Clip', [plus(steps, grid.zeroPoint), ...ends]);
      const to = elementCode(grid.bits === 8 ? 'uint8' : 'uint16');
      append('Cast', [level], name, { to });
    },
  };
}
