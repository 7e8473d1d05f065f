/**
 * From a graph whose sites are quantized to one in which everything is: each operator stands between DequantizeLinear and
 * QuantizeLinear, all of one width, so that a device's compiler finds no float operator in it.
 *
 * What comes in is the trace of a deploy tap: a site is a pair of QuantizeLinear and DequantizeLinear, here called a *mark*, and all
 * else is float. It is read three times:
 *
 *     forwards   each value gets a grid: its mark's if one is ahead with nothing but moves between, else that of a range which
 *                follows from those of the operands (a product's is the product of ranges, a normed vector's ±1, …). An operator
 *                has 16 bits unless all that goes in and comes out is marked with 8.
 *     backwards  each value learns in which grids it will be read: by operators in their width, by marks in theirs. Moves hand this
 *                on to what they move, so that every conversion stands right behind an operator.
 *     forwards   it is written. A conversion from grid to grid is DequantizeLinear, QuantizeLinear.
 *
 * No statistics are needed beyond the encodings: ranges that follow hold for every input, and 16 bits are fine enough for them.
 */
import {
  dataOf,
  type Graph,
  type Initializer,
  initializer,
  type Node,
  producersOf,
  prune,
  type TensorType,
  typedArrayOf,
  typesOf,
  type ValueInfo,
  valuesOf,
} from '@mobilequant/graph';
import { fakeQuantize, quantize, type Range } from '@mobilequant/quantizer';
import { bytesOf } from './bytes-of.ts';
import { encodingOfGrid, type Grid, gridOfRange, integerType, rangeOfGrid, sameGrid, widened } from './device-grid.ts';
import { ExportError } from './errors.ts';

/** What a graph does not say of its values. */
export interface ValueFacts {
  /** Grids of inputs that have no mark ahead. */
  readonly grids: ReadonlyMap<string, Grid>;
  /** Inputs that scores are masked with: 0, or so low that nothing is left. Their grid follows from the scores. */
  readonly masks: ReadonlySet<string>;
  /** Ranges of products that have no mark ahead, by the name of the (dequantized) weight. */
  readonly products: ReadonlyMap<string, Range>;
}

/**
 * Requires: static shapes; linear layers as Gemm; marks per tensor, of 8 or 16 bits; float32 inputs. Ensures: inputs and outputs are
 * integers; every operator has one width, but for weights (8 or 4 bits), second operands of products (8 bits) and biases (32).
 *
 * @throws ExportError for a value whose range is not known, and for operators that have no form on a device.
 */
export async function quantizeOperators(graph: Graph, facts: ValueFacts): Promise<Graph> {
  const { steps, weights } = stepsOf(graph);
  const grids = await gridsOf(graph, steps, weights, facts);
  const needs = needsOf(graph, steps, grids);
  return write(graph, steps, weights, grids, needs);
}

// ── What the graph is made of ────────────────────────────────────────────────────────────────────────────────────────────────

type Step =
  | { readonly kind: 'mark'; readonly x: string; readonly y: string; readonly grid: Grid }
  | { readonly kind: 'move'; readonly node: Node; readonly data: readonly string[]; readonly y: string }
  | {
      readonly kind: 'operator';
      readonly node: Node;
      /** Operands of the operator's width. */
      readonly data: readonly string[];
      /** The second operand of a product of activations: 8 bits, whatever the width. */
      readonly second?: string;
      readonly y: string;
    };

/** Operators that give what they read, elsewhere. */
export const MOVES: ReadonlySet<string> = new Set(['Reshape', 'Transpose', 'Slice', 'Concat']);

/** Grids that a device puts its functions on whatever the graph says; the second is that of 16 bits. */
const FIXED: Readonly<Record<string, readonly [Grid, Grid]>> = {
  Sigmoid: [
    { bits: 8, scale: 1 / 256, zeroPoint: 0 },
    { bits: 16, scale: 1 / 65536, zeroPoint: 0 },
  ],
  Tanh: [
    { bits: 8, scale: 1 / 128, zeroPoint: 128 },
    { bits: 16, scale: 1 / 32768, zeroPoint: 32768 },
  ],
};

function stepsOf(graph: Graph): { steps: Step[]; weights: ReadonlyMap<string, Node> } {
  const producers = producersOf(graph);
  const weights = new Map<string, Node>();
  const steps: Step[] = [];
  for (const node of graph.nodes) {
    const [x = '', second = ''] = node.inputs;
    const y = node.outputs[0] as string;
    if (node.op === 'QuantizeLinear') continue; // its DequantizeLinear is the mark
    if (node.op === 'DequantizeLinear') {
      const quantized = producers.get(x);
      if (!quantized) weights.set(y, node);
      else {
        const source = quantized.inputs[0] as string;
        const grid = gridOfNode(graph, node);
        const fixed = FIXED[producers.get(source)?.op ?? ''];
        steps.push({ kind: 'mark', x: source, y, grid: fixed ? fixed[grid.bits === 8 ? 0 : 1] : grid });
      }
    } else if (MOVES.has(node.op)) {
      steps.push({ kind: 'move', node, data: node.op === 'Concat' ? node.inputs : [x], y });
    } else if (node.op === 'Gemm') {
      if (!weights.has(second)) throw new ExportError(second, 'an encoding', 'none', 'Add the weight to the recipe.');
      steps.push({ kind: 'operator', node, data: [x], y });
    } else if (node.op === 'MatMul') steps.push({ kind: 'operator', node, data: [x], second, y });
    else steps.push({ kind: 'operator', node, data: node.inputs, y });
  }
  return { steps: withHeadroom(withoutDoubles(steps, new Set(graph.outputs.map(({ name }) => name)))), weights };
}

/**
 * A mark on a value that operators read too (the residual stream, on its way into a norm) becomes the grid of the value itself, a
 * quarter wider: what is clipped there would stay so for all layers behind, and a step of 16 bits may well be a quarter larger.
 */
function withHeadroom(steps: readonly Step[]): Step[] {
  const read = new Set(steps.flatMap((step) => (step.kind === 'operator' ? step.data : [])));
  return steps.map((step) =>
    step.kind === 'mark' && step.grid.bits === 16 && read.has(step.x)
      ? { ...step, grid: gridOfRange(scaled(rangeOfGrid(step.grid), HEADROOM)) }
      : step,
  );
}

const HEADROOM = 1.25;

const scaled = ({ min, max }: Range, factor: number): Range => ({ min: min * factor, max: max * factor });

/**
 * A mark that only another of the same width reads, with nothing but moves between, takes that one's grid: rounded once instead of
 * twice. (ONNX Runtime joins such pairs by itself, but leaves the moves between on the old grid, and they become float operators.)
 */
function withoutDoubles(steps: readonly Step[], outputs: ReadonlySet<string>): Step[] {
  /** The mark behind a value that nothing else reads; 'several' for all others that are read. */
  const behind = new Map<string, Grid | 'several'>([...outputs].map((name) => [name, 'several']));
  const reads = (name: string, reader: Grid | 'several'): void => {
    const known = behind.get(name);
    const same = known === undefined || (known !== 'several' && reader !== 'several' && sameGrid(known, reader));
    behind.set(name, same ? reader : 'several');
  };
  const single = steps.toReversed().map((step): Step => {
    const reader = behind.get(step.y) ?? 'several';
    if (step.kind === 'mark') {
      const grid = reader !== 'several' && reader.bits === step.grid.bits ? reader : step.grid;
      reads(step.x, grid);
      return { ...step, grid };
    }
    const inputs =
      step.kind === 'move' ? step.data : [...step.data, ...(step.second === undefined ? [] : [step.second])];
    for (const name of inputs) reads(name, step.kind === 'move' ? reader : 'several');
    return step;
  });
  return single.reverse();
}

/** The grid of a QuantizeLinear or DequantizeLinear whose scale and zero point are constants. */
export function gridOfNode(graph: Pick<Graph, 'initializers'>, { inputs }: Node): Grid {
  const [, scale, zeroPoint] = inputs.map((name) => graph.initializers.get(name));
  const [s, z] = [scale, zeroPoint].map((constant) =>
    constant && typeof constant.data !== 'function' ? valuesOf(constant, constant.data) : [],
  ) as [number[], number[]];
  if (s.length !== 1 || z.length !== 1 || !zeroPoint)
    throw new ExportError(inputs[0] as string, 'one scale and zero point', `${s.length}`, 'Quantize it per tensor.');
  return { bits: zeroPoint.type === 'uint16' ? 16 : 8, scale: s[0] as number, zeroPoint: z[0] as number };
}

// ── Forwards: a grid for each value ──────────────────────────────────────────────────────────────────────────────────────────

async function gridsOf(
  graph: Graph,
  steps: readonly Step[],
  weights: ReadonlyMap<string, Node>,
  facts: ValueFacts,
): Promise<Map<string, Grid>> {
  const marks = marksAhead(steps);
  const grids = new Map<string, Grid>();
  for (const { name } of graph.inputs) {
    // That of a mask is known once the scores' are; until then its width is what counts.
    const grid = facts.masks.has(name) ? gridOfMask(0) : (facts.grids.get(name) ?? marks.get(name));
    if (!grid)
      throw new ExportError(name, 'a site that it leads to, with an encoding', 'none', 'Add it to the recipe.');
    grids.set(name, grid);
  }
  const given = async (name: string): Promise<void> => {
    if (grids.has(name)) return;
    const weight = weights.get(name);
    const constant = graph.initializers.get(name);
    if (weight) grids.set(name, gridOfNode(graph, weight));
    else if (constant) grids.set(name, marks.get(name) ?? gridOfRange(await rangeOfConstant(constant)));
  };
  for (const step of steps) {
    if (step.kind === 'mark') {
      grids.set(step.y, step.grid);
      continue;
    }
    const mark = marks.get(step.y);
    // Constants that are moved along with values go on the values' grid.
    const computed = step.data.filter((name) => !graph.initializers.has(name));
    const data = step.kind === 'move' && computed.length > 0 ? computed : step.data;
    for (const name of data) await given(name);
    const operands = data.map((name) => grids.get(name) as Grid);
    const first = operands[0] as Grid;
    if (step.kind === 'move') {
      grids.set(
        step.y,
        operands.every((grid) => sameGrid(grid, first)) ? first : (mark ?? gridOfRange(union(operands))),
      );
      continue;
    }
    const bits = mark && operands.every((grid) => grid.bits === 8) ? mark.bits : 16;
    const fixed = FIXED[step.node.op]?.[bits === 8 ? 0 : 1];
    const ahead = mark && (bits === 16 ? widened(mark) : mark);
    grids.set(step.y, fixed ?? ahead ?? gridOfRange(rangeOfOperator(step.node, operands.map(rangeOfGrid), facts)));
  }
  for (const [mask, depth] of maskDepths(steps, grids, facts.masks)) grids.set(mask, gridOfMask(depth));
  return grids;
}

export const MASK_ZERO_POINT = 65535;

/** 0 is the highest level, what hides a score the lowest. */
const gridOfMask = (depth: number): Grid => ({
  bits: 16,
  scale: Math.fround(depth / MASK_ZERO_POINT),
  zeroPoint: MASK_ZERO_POINT,
});

/**
 * What each mask must take from every score so that the sum saturates: no more than that, for a device adds both operands on one grid, and
 * the finer one keeps the fewer bits the coarser the other is.
 */
function maskDepths(
  steps: readonly Step[],
  grids: ReadonlyMap<string, Grid>,
  masks: ReadonlySet<string>,
): Map<string, number> {
  const depths = new Map([...masks].map((name) => [name, 0]));
  for (const step of steps) {
    const mask = step.kind === 'operator' && step.data.find((name) => masks.has(name));
    if (step.kind !== 'operator' || !mask) continue;
    const scores = step.data.find((name) => name !== mask) as string;
    const [{ max }, { min }] = [scores, step.y].map((name) => rangeOfGrid(grids.get(name) as Grid)) as [Range, Range];
    depths.set(mask, Math.max(depths.get(mask) as number, max - min));
  }
  return depths;
}

/** The first mark that each value comes to with nothing but moves between. */
function marksAhead(steps: readonly Step[]): Map<string, Grid> {
  const ahead = new Map<string, Grid>();
  for (const step of steps.toReversed()) {
    if (step.kind === 'mark') ahead.set(step.x, step.grid);
    const mark = step.kind === 'move' ? ahead.get(step.y) : undefined;
    if (mark && step.kind === 'move') for (const name of step.data) ahead.set(name, mark);
  }
  return ahead;
}

async function rangeOfConstant(constant: Initializer): Promise<Range> {
  const values = typedArrayOf(constant.type, await dataOf(constant)) as Float32Array;
  return { min: values.reduce((a, b) => Math.min(a, b), 0), max: values.reduce((a, b) => Math.max(a, b), 0) };
}

const union = (grids: readonly Grid[]): Range => {
  const ranges = grids.map(rangeOfGrid);
  return { min: Math.min(...ranges.map(({ min }) => min)), max: Math.max(...ranges.map(({ max }) => max)) };
};

const MASK_MARGIN = 12; // e^-12 of the smallest score is what a masked one may get

function rangeOfOperator({ op, inputs }: Node, ranges: readonly Range[], { masks, products }: ValueFacts): Range {
  const [a, b] = ranges as [Range, Range];
  switch (op) {
    case 'LpNormalization':
      return { min: -1, max: 1 };
    case 'Softmax':
      return { min: 0, max: 1 };
    case 'Gelu':
      return { min: -0.2, max: Math.max(a.max, 0) };
    case 'Add': {
      // A masked sum saturates; were its range the sum of ranges, one step would be as large as a score.
      const scores = inputs.findIndex((name) => masks.has(name)) === 0 ? b : a;
      if (inputs.some((name) => masks.has(name))) return { min: scores.min - MASK_MARGIN, max: scores.max };
      return { min: a.min + b.min, max: a.max + b.max };
    }
    case 'Sub':
      return { min: a.min - b.max, max: a.max - b.min };
    case 'Mul': {
      const corners = [a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max];
      return { min: Math.min(...corners), max: Math.max(...corners) };
    }
    case 'Gemm': {
      const known = products.get(inputs[1] as string);
      if (known) return known;
    }
  }
  const isProduct = op === 'Gemm' || op === 'MatMul';
  throw new ExportError(
    isProduct ? `the product with ${inputs[1]}` : op,
    isProduct ? 'an encoding of what comes out' : 'an operator that a device computes in integers',
    'none',
    'Add a site to the recipe.',
  );
}

// ── Backwards: in which grids each value is read ─────────────────────────────────────────────────────────────────────────────

/** Grids that a value is rounded to one after the other: that of a site, then a wider one for the operator that reads it. */
type Path = readonly Grid[];

type Needs = ReadonlyMap<string, readonly Path[]>;

const samePath = (a: Path, b: Path): boolean =>
  a.length === b.length && a.every((grid, i) => sameGrid(grid, b[i] as Grid));

/** A value on a grid of its own, read in the width of an operator. */
const pathTo = (bits: 8 | 16, grid: Grid): Path => (bits === grid.bits ? [grid] : [grid, widened(grid)]);

/** What a mark asks for so that what is read behind it is there. */
const throughMark = (grid: Grid, path: Path): Path => (sameGrid(grid, path[0] as Grid) ? path : [grid, ...path]);

function needsOf(graph: Graph, steps: readonly Step[], grids: ReadonlyMap<string, Grid>): Needs {
  const needs = new Map<string, Path[]>();
  const need = (name: string, path: Path): void => {
    const known = needs.get(name) ?? [];
    if (!known.some((other) => samePath(other, path))) needs.set(name, [...known, path]);
  };
  for (const { name } of graph.outputs) need(name, [grids.get(name) as Grid]);
  for (const step of steps.toReversed()) {
    const paths = needs.get(step.y);
    if (!paths) continue; // nobody reads it
    if (step.kind === 'mark') for (const path of paths) need(step.x, throughMark(step.grid, path));
    else if (step.kind === 'move') for (const path of paths) for (const name of step.data) need(name, path);
    else {
      const { bits } = grids.get(step.y) as Grid;
      for (const name of step.data) need(name, pathTo(bits, grids.get(name) as Grid));
      if (step.second !== undefined) need(step.second, [checkedSecond(step.second, grids.get(step.second))]);
    }
  }
  return needs;
}

/** A device takes any other apart: it makes the second operand symmetric 8-bit by itself, and less well. */
function checkedSecond(name: string, grid: Grid | undefined): Grid {
  if (grid?.bits === 8 && grid.zeroPoint === 128) return grid;
  throw new ExportError(
    name,
    'keys and values of 8 bits, symmetric',
    grid ? `${grid.bits} bits with zero point ${grid.zeroPoint}` : 'no encoding',
    'Quantize with the recipe w8a8 or w4a8.',
  );
}

// ── Forwards: the graph of integers ──────────────────────────────────────────────────────────────────────────────────────────

/** A value on a grid: the integers, the real value that DequantizeLinear makes of them, and their scale and zero point. */
interface Held {
  readonly integers: string;
  readonly real: string;
  readonly scale: string;
  readonly zeroPoint: string;
  readonly path: Path;
}

function write(
  graph: Graph,
  steps: readonly Step[],
  weights: ReadonlyMap<string, Node>,
  grids: ReadonlyMap<string, Grid>,
  needs: Needs,
): Graph {
  const types = typesOf(graph);
  const nodes: Node[] = [];
  const initializers = new Map<string, Initializer>();
  const values = new Map<string, TensorType>();
  const held = new Map<string, Held[]>();
  const names = new Set<string>();
  const read = new Set<string>();
  const sites = new Map(
    steps.flatMap((step) => (step.kind === 'mark' ? [[`${step.x} ${keyOf(step.grid)}`, step.y]] : [])),
  );

  const node = (op: string, inputs: readonly string[], output: string, attributes: Node['attributes'] = {}): string => {
    nodes.push({ op, domain: '', inputs, outputs: [output], attributes });
    return output;
  };
  const constant = (made: Initializer): string => {
    initializers.set(made.name, made);
    return made.name;
  };
  const given = (name: string): string => constant(graph.initializers.get(name) as Initializer);
  const typed = (name: string, value: string, type: 'float32' | 'uint8' | 'uint16'): string => {
    const known = types.get(value);
    if (known) values.set(name, { type, shape: known.shape });
    return name;
  };
  /** A name for a value on its way: that of the site that rounds it so, if one does. */
  const nameOf = (value: string, path: Path): string => {
    const grid = path.at(-1) as Grid;
    const site = path.length === 1 ? sites.get(`${value} ${keyOf(grid)}`) : undefined;
    let name = site ?? `${value}.u${grid.bits}`;
    for (let i = 1; names.has(name); i++) name = `${value}.u${grid.bits}.${i}`;
    names.add(name);
    return name;
  };
  const hold = (value: string, own: Held): Held => {
    held.set(value, [...(held.get(value) ?? []), own]);
    return own;
  };
  const scalesOf = (name: string, grid: Grid): Pick<Held, 'scale' | 'zeroPoint'> => ({
    scale: constant(initializer(`${name}_scale`, 'float32', [], [Math.fround(grid.scale)])),
    zeroPoint: constant(initializer(`${name}_zero_point`, integerType(grid), [], [grid.zeroPoint])),
  });
  /** A real value rounded to the last grid of a path. */
  const quantized = (value: string, real: string, path: Path): Held => {
    const grid = path.at(-1) as Grid;
    const name = nameOf(value, path);
    const own = { ...scalesOf(name, grid), integers: `${name}_quantized`, real: name, path };
    node('QuantizeLinear', [real, own.scale, own.zeroPoint], typed(own.integers, value, integerType(grid)));
    return hold(value, own);
  };
  const on = (value: string, path: Path): Held => {
    const known = held.get(value);
    const found = known?.find((own) => samePath(own.path, path));
    if (found) return found;
    const whole = graph.initializers.get(value);
    if (whole) return stored(whole, path);
    const weight = weights.get(value);
    if (weight) return taken(value, weight, path);
    const before = path.length > 1 ? on(value, path.slice(0, -1)) : known?.[0];
    if (!before) throw new Error(`quantizeOperators: expected '${value}' on a grid, got none.`);
    return quantized(value, real(value, before.path), path);
  };
  const real = (value: string, path: Path): string => {
    const { integers, real, scale, zeroPoint } = on(value, path);
    if (!read.has(real)) node('DequantizeLinear', [integers, scale, zeroPoint], typed(real, value, 'float32'));
    read.add(real);
    return real;
  };
  /** A float constant as integers, made when they are written. */
  const stored = (whole: Initializer, path: Path): Held => {
    const grid = path.at(-1) as Grid;
    const name = nameOf(whole.name, path);
    const own = { ...scalesOf(name, grid), integers: `${name}_quantized`, real: name, path };
    const data = async () => {
      const float = typedArrayOf('float32', await dataOf(whole)) as Float32Array;
      const before = path.slice(0, -1).reduce((x, step) => fakeQuantize(x, encodingOfGrid(step)), float);
      return bytesOf(quantize(before, encodingOfGrid(grid)));
    };
    constant({ name: own.integers, type: integerType(grid), shape: whole.shape, data });
    return hold(whole.name, own);
  };
  /** A quantized constant as it is. */
  const taken = (value: string, weight: Node, path: Path): Held => {
    const [integers, scale, zeroPoint] = weight.inputs.map(given) as [string, string, string];
    if (path.length === 1) return hold(value, { integers, scale, zeroPoint, real: value, path });
    throw new ExportError(value, '16 bits', '8', 'Change its bits in the recipe.');
  };
  /** Puts a value on all grids in which it will be read, right where it is made. */
  const converted = (value: string): void => {
    for (const path of needs.get(value) ?? []) on(value, path);
  };

  for (const { name } of graph.inputs) {
    const grid = grids.get(name) as Grid;
    hold(name, { ...scalesOf(name, grid), integers: name, real: `${name}.real`, path: [grid] });
    converted(name);
  }
  for (const step of steps) {
    const paths = needs.get(step.y);
    if (!paths) continue;
    if (step.kind === 'mark') {
      for (const path of paths) hold(step.y, { ...on(step.x, throughMark(step.grid, path)), path });
    } else if (step.kind === 'move') {
      for (const input of step.node.inputs) if (!step.data.includes(input)) given(input);
      for (const path of paths) {
        const inputs = step.node.inputs.map((name) => (step.data.includes(name) ? real(name, path) : name));
        const own = on(step.data[0] as string, path);
        const name = nameOf(step.y, path);
        const moved = node(step.node.op, inputs, typed(`${name}_moved`, step.y, 'float32'), step.node.attributes);
        const integers = typed(`${name}_quantized`, step.y, integerType(path.at(-1) as Grid));
        node('QuantizeLinear', [moved, own.scale, own.zeroPoint], integers);
        hold(step.y, { ...own, integers, real: name, path });
      }
    } else {
      const grid = grids.get(step.y) as Grid;
      const operands = new Map(step.data.map((name) => [name, real(name, pathTo(grid.bits, grids.get(name) as Grid))]));
      if (step.second !== undefined) operands.set(step.second, real(step.second, [grids.get(step.second) as Grid]));
      const inputs = step.node.inputs.map((name) => operands.get(name) ?? name);
      const [x = '', matrix = '', added] = step.node.inputs;
      const weight = weights.get(matrix);
      if (step.node.op === 'Gemm' && weight) {
        if (!read.has(matrix)) nodes.push(weight);
        read.add(matrix);
        weight.inputs.map(given);
        if (added !== undefined)
          inputs[2] = bias(added, weight, pathTo(grid.bits, grids.get(x) as Grid).at(-1) as Grid);
      }
      node(step.node.op, inputs, typed(step.y, step.y, 'float32'), step.node.attributes);
      quantized(step.y, step.y, [grid]);
      converted(step.y);
    }
  }

  /** A bias as 32-bit integers: in units of the product's sums. */
  function bias(name: string, weight: Node, { scale: inputScale }: Grid): string {
    const own = graph.initializers.get(name) as Initializer;
    const weightScale = graph.initializers.get(weight.inputs[1] as string) as Initializer;
    const scales = Float32Array.from(valuesOf(weightScale, weightScale.data as Uint8Array), (s) => s * inputScale);
    const integers = `${name}_quantized`;
    const scale = constant(initializer(`${name}_scale`, 'float32', weightScale.shape, scales));
    const zero = constant(initializer(`${name}_zero_point`, 'int32', weightScale.shape, new Int32Array(scales.length)));
    const data = async () => {
      const values = typedArrayOf('float32', await dataOf(own)) as Float32Array;
      return bytesOf(
        Int32Array.from(values, (b, i) => inSums(name, i, b, scales[scales.length === 1 ? 0 : i] as number)),
      );
    };
    constant({ name: integers, type: 'int32', shape: own.shape, data });
    return node(
      'DequantizeLinear',
      [integers, scale, zero],
      `${name}_dequantized`,
      scales.length === 1 ? {} : { axis: 0 },
    );
  }

  const outputs = graph.outputs.map(({ name, shape }): [string, ValueInfo] => {
    const grid = grids.get(name) as Grid;
    return [on(name, [grid]).integers, { name, type: integerType(grid), shape }];
  });
  const inputs = graph.inputs.map(
    ({ name, shape }): ValueInfo => ({ name, type: integerType(grids.get(name) as Grid), shape }),
  );
  const integers = { ...graph, inputs, outputs: outputs.map(([, output]) => output), nodes, initializers, values };
  return prune(named(integers, new Map(outputs.map(([from, { name }]) => [from, name]))));
}

const MOST = 2 ** 31 - 1;

/** A bias in units of a product's sums. @throws ExportError where 32 bits do not hold it: it would wrap around on the device. */
function inSums(name: string, channel: number, bias: number, scale: number): number {
  const integer = Math.round(bias / scale);
  if (Math.abs(integer) <= MOST) return integer;
  throw new ExportError(
    name,
    `biases within ±${MOST} times the scale of their sums`,
    `${bias} in channel ${channel}, where that is ${scale}`,
    "The channel's weights are far smaller than its bias. Quantize that weight per tensor in the recipe, so that all channels share a larger scale.",
  );
}

const keyOf = ({ bits, scale, zeroPoint }: Grid): string => `${bits} ${scale} ${zeroPoint}`;

/** Values under other names; whatever had such a name before gets another. */
function named(graph: Graph, names: ReadonlyMap<string, string>): Graph {
  const wanted = new Set(names.values());
  const rename = (name: string): string => names.get(name) ?? (wanted.has(name) ? `${name}.real` : name);
  const all = (list: readonly string[]) => list.map(rename);
  return {
    ...graph,
    nodes: graph.nodes.map((node) => ({ ...node, inputs: all(node.inputs), outputs: all(node.outputs) })),
    values: new Map([...graph.values].map(([name, type]) => [rename(name), type])),
  };
}
