/**
 * Graph ↔ ONNX file bytes. The only file that knows protobuf.
 *
 * Tensors always travel as raw bytes. A tensor that lies outside the model file is a reference (file, offset, length):
 * who calls says what is written as one, and how one is read.
 */

import type { onnx as Onnx } from 'onnx-proto';
import onnxProto from 'onnx-proto';
import { byteLength, elementCode, elementCount, elementTypeOfCode, formatType } from './element-type.ts';
import { FormatError, GraphError } from './errors.ts';
import type { Attribute, ElementType, Graph, Initializer, Node, TensorType, ValueInfo } from './graph.ts';

const { ModelProto, AttributeProto, TensorProto } = onnxProto.onnx;
const { FLOAT, INT, STRING, TENSOR, FLOATS, INTS } = AttributeProto.AttributeType;

/** The first operator set with 16-bit and 4-bit QuantizeLinear. */
export const DEFAULT_OPSET = 21;
const IR_VERSION = 10; // the one of opset 21
const MODEL_LIMIT = 2 ** 31 - 2 ** 20; // protobuf's sizes are 31 bits; a MiB for the frame

/** Where a tensor lies outside its model file. */
export interface ExternalReference {
  /** File name relative to the model's folder, with '/' between parts. Not checked by `decodeModel`. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export interface EncodeOptions {
  readonly opset?: number;
  readonly irVersion?: number;
  /** The name of the program that wrote the model. */
  readonly producer?: string;
  /** Initializers that are written as references instead of values. */
  readonly external?: ReadonlyMap<string, ExternalReference>;
}

export interface DecodeOptions {
  /**
   * Says how the data of a reference is read; called while decoding, for each one. By default such an initializer is
   * decoded, and throws only when its data is asked for.
   */
  readonly external?: (reference: ExternalReference, initializer: ValueInfo) => Initializer['data'];
}

/**
 * A graph as the bytes of an ONNX model. Functions that make data are called one after the other.
 *
 * @throws GraphError when data does not fit its shape, an attribute is no number that ONNX can hold, or the model would pass 2 GiB.
 */
export async function encodeModel(
  graph: Graph,
  {
    opset = graph.opset ?? DEFAULT_OPSET,
    irVersion = IR_VERSION,
    producer = 'mobilequant',
    external = new Map(),
  }: EncodeOptions = {},
): Promise<Uint8Array> {
  const inline = [...graph.initializers.values()].filter(({ name }) => !external.has(name));
  checkSize(inline.reduce((sum, { type, shape }) => sum + byteLength(type, shape), 0));
  const initializer: Onnx.ITensorProto[] = [];
  for (const tensor of graph.initializers.values()) {
    const reference = external.get(tensor.name);
    initializer.push(reference ? referenceProto(tensor, reference) : tensorProto(tensor, await dataOf(tensor)));
  }
  const domains = new Set(graph.nodes.map(({ domain }) => domain).filter((domain) => domain !== ''));
  const writer = ModelProto.encode({
    irVersion,
    producerName: producer,
    opsetImport: [{ domain: '', version: opset }, ...[...domains].map((domain) => ({ domain, version: 1 }))],
    graph: {
      name: graph.name,
      node: graph.nodes.map(nodeProto),
      initializer,
      input: graph.inputs.map(valueProto),
      output: graph.outputs.map(valueProto),
      valueInfo: innerValues(graph).map(valueProto),
    },
  });
  checkSize(writer.len);
  const bytes = writer.finish();
  const own = bytes.byteLength === bytes.buffer.byteLength;
  return own ? new Uint8Array(bytes.buffer) : Uint8Array.from(bytes);
}

/**
 * The bytes of an initializer, made if they are not there yet.
 *
 * @throws GraphError when they do not fit the shape.
 */
export async function dataOf(initializer: Initializer): Promise<Uint8Array> {
  const { name, type, shape, data } = initializer;
  const bytes = typeof data === 'function' ? await data() : data;
  const expected = byteLength(type, shape);
  if (bytes.byteLength !== expected) {
    throw new GraphError({
      where: `initializer '${name}'`,
      expected: `${expected} bytes for ${formatType(initializer)}`,
      received: `${bytes.byteLength}`,
    });
  }
  return bytes;
}

function checkSize(bytes: number): void {
  if (bytes <= MODEL_LIMIT) return;
  throw new GraphError({
    where: 'encodeModel',
    expected: `a model of at most ${MODEL_LIMIT} bytes (2 GiB, protobuf's limit)`,
    received: `${bytes} bytes`,
    advice: 'Write the weights as external data: writeModel(graph, path, { externalData: true }).',
  });
}

/** Known types of values that are neither inputs, outputs nor initializers, which carry their own. */
function innerValues({ nodes, outputs, values }: Graph): ValueInfo[] {
  const outer = new Set(outputs.map(({ name }) => name));
  return nodes
    .flatMap((node) => node.outputs)
    .flatMap((name) => {
      const known = outer.has(name) ? undefined : values.get(name);
      return known ? [{ name, type: known.type, shape: known.shape }] : [];
    });
}

function tensorProto({ name, type, shape }: Initializer, rawData: Uint8Array): Onnx.ITensorProto {
  return { name, dims: [...shape], dataType: elementCode(type), rawData };
}

function referenceProto(
  { name, type, shape }: Initializer,
  { location, offset, length }: ExternalReference,
): Onnx.ITensorProto {
  const entries = { location, offset: `${offset}`, length: `${length}` };
  const externalData = Object.entries(entries).map(([key, value]) => ({ key, value }));
  return {
    name,
    dims: [...shape],
    dataType: elementCode(type),
    dataLocation: TensorProto.DataLocation.EXTERNAL,
    externalData,
  };
}

function valueProto({ name, type, shape }: ValueInfo): Onnx.IValueInfoProto {
  const dim = shape.map((size) =>
    typeof size === 'number' ? { dimValue: size } : size === '' ? {} : { dimParam: size },
  );
  return { name, type: { tensorType: { elemType: elementCode(type), shape: { dim } } } };
}

function nodeProto({ name, op, domain, inputs, outputs, attributes }: Node): Onnx.INodeProto {
  const title = name ?? outputs[0] ?? op;
  return {
    name: title,
    opType: op,
    domain,
    input: [...inputs],
    output: [...outputs],
    attribute: Object.entries(attributes).map(([key, value]) =>
      attributeProto(key, value, `node '${title}' (${op}), attribute '${key}'`),
    ),
  };
}

function attributeProto(name: string, value: Attribute, where: string): Onnx.IAttributeProto {
  if (typeof value === 'number') return { name, type: INT, i: integer(value, where) };
  if (typeof value === 'string') return { name, type: STRING, s: new TextEncoder().encode(value) };
  if ('float' in value) return { name, type: FLOAT, f: value.float };
  if ('floats' in value) return { name, type: FLOATS, floats: [...value.floats] };
  return { name, type: INTS, ints: value.map((item) => integer(item, where)) };
}

function integer(value: number, where: string): number {
  if (Number.isSafeInteger(value)) return value;
  throw new GraphError({
    where,
    expected: 'a whole number',
    received: `${value}`,
    advice: 'Write other numbers as { float }.',
  });
}

/**
 * The graph that the bytes of an ONNX model hold. Nothing in the bytes is trusted: sizes, types and references are checked.
 * Constant nodes become initializers, so that constants have one form. Data are views of `bytes` where possible.
 *
 * @throws FormatError when the bytes are no ONNX model, or use what `Graph` cannot hold (subgraphs, strings, attributes that are tensors, …).
 */
export function decodeModel(bytes: Uint8Array, { external = unread }: DecodeOptions = {}): Graph {
  const model = parse(bytes);
  const graph = model.graph;
  if (!graph) throw new FormatError({ where: 'decodeModel', expected: 'a model with a graph', received: 'none' });
  refuse(graph.sparseInitializer?.length, 'decodeModel: graph', 'sparse initializers');
  refuse(model.functions?.length, 'decodeModel', 'model-local functions');

  const initializers = new Map<string, Initializer>();
  const add = (tensor: Onnx.ITensorProto, name: string): void => {
    if (initializers.has(name))
      throw new FormatError({ where: `initializer '${name}'`, expected: 'one of that name', received: 'two' });
    initializers.set(name, readTensor(tensor, name, external));
  };
  for (const tensor of graph.initializer ?? []) add(tensor, text(tensor.name, 'initializer'));
  const nodes: Node[] = [];
  for (const proto of graph.node ?? []) {
    const constant = constantOf(proto);
    if (constant) add(constant, proto.output?.[0] ?? '');
    else nodes.push(readNode(proto));
  }
  const types = (graph.valueInfo ?? []).flatMap((proto) => readValue(proto, 'value') ?? []);
  return {
    name: graph.name ?? '',
    opset: opsetOf(model),
    inputs: (graph.input ?? [])
      .filter(({ name }) => !initializers.has(name ?? ''))
      .map((proto) => wellKnown(proto, 'input')),
    outputs: (graph.output ?? []).map((proto) => wellKnown(proto, 'output')),
    nodes,
    initializers,
    values: new Map(types.map(({ name, type, shape }): [string, TensorType] => [name, { type, shape }])),
  };
}

function parse(bytes: Uint8Array): Onnx.ModelProto {
  try {
    return ModelProto.decode(bytes);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FormatError(
      {
        where: 'decodeModel',
        expected: 'an ONNX model',
        received: `${bytes.byteLength} bytes that are none (${reason})`,
      },
      { cause },
    );
  }
}

function opsetOf({ opsetImport }: Onnx.ModelProto): number {
  const version = opsetImport.find(({ domain }) => isOnnx(domain))?.version;
  return version == null ? DEFAULT_OPSET : count(version, 'decodeModel: opset');
}

const isOnnx = (domain: string | null | undefined): boolean => !domain || domain === 'ai.onnx';

/** The tensor of a Constant node, which has it as such or as numbers. */
function constantOf({ opType, domain, attribute }: Onnx.INodeProto): Onnx.ITensorProto | undefined {
  if (opType !== 'Constant' || !isOnnx(domain)) return undefined;
  for (const { name, t, f, i, floats, ints } of attribute ?? []) {
    if (name === 'value') return t ?? undefined;
    if (name === 'value_float') return { dataType: elementCode('float32'), floatData: [f ?? 0] };
    if (name === 'value_int') return { dataType: elementCode('int64'), int64Data: [i ?? 0] };
    if (name === 'value_floats')
      return { dataType: elementCode('float32'), dims: [floats?.length ?? 0], floatData: floats ?? [] };
    if (name === 'value_ints')
      return { dataType: elementCode('int64'), dims: [ints?.length ?? 0], int64Data: ints ?? [] };
  }
  return undefined;
}

function readNode({ name, opType, domain, input, output, attribute }: Onnx.INodeProto): Node {
  const title = name || output?.[0] || '';
  const op = text(opType, `node '${title}': operator`);
  const attributes = (attribute ?? []).map((proto): [string, Attribute] => {
    const key = text(proto.name, `node '${title}' (${op}): attribute`);
    return [key, readAttribute(proto, `node '${title}' (${op}), attribute '${key}'`)];
  });
  return {
    ...(name && name !== output?.[0] && { name }),
    op,
    domain: isOnnx(domain) ? '' : (domain as string),
    inputs: input ?? [],
    outputs: output ?? [],
    attributes: Object.fromEntries(attributes),
  };
}

function readAttribute(proto: Onnx.IAttributeProto, where: string): Attribute {
  switch (proto.type) {
    case INT:
      return whole(proto.i ?? 0, where);
    case FLOAT:
      return { float: proto.f ?? 0 };
    case STRING:
      return new TextDecoder().decode(proto.s ?? new Uint8Array());
    case INTS:
      return (proto.ints ?? []).map((item) => whole(item, where));
    case FLOATS:
      return { floats: proto.floats ?? [] };
    default: {
      const kind =
        proto.type === TENSOR ? 'TENSOR' : (AttributeProto.AttributeType[proto.type ?? 0] ?? `${proto.type}`);
      throw new FormatError({ where, expected: 'an INT, FLOAT, STRING, INTS or FLOATS', received: kind });
    }
  }
}

function readTensor(
  proto: Onnx.ITensorProto,
  name: string,
  external: NonNullable<DecodeOptions['external']>,
): Initializer {
  const where = `initializer '${name}'`;
  const type = elementType(proto.dataType, where);
  const shape = (proto.dims ?? []).map((size) => count(size, where));
  const length = sizeOf({ type, shape }, where);
  if (proto.dataLocation === TensorProto.DataLocation.EXTERNAL) {
    const reference = readReference(proto.externalData ?? [], length, where);
    return { name, type, shape, data: external(reference, { name, type, shape }) };
  }
  const data = proto.rawData?.length ? plain(proto.rawData) : listedData(proto, type, shape, where);
  if (data.byteLength !== length) {
    throw new FormatError({
      where,
      expected: `${length} bytes for ${formatType({ type, shape })}`,
      received: `${data.byteLength}`,
    });
  }
  return { name, type, shape, data };
}

function sizeOf(value: { readonly type: ElementType; readonly shape: readonly number[] }, where: string): number {
  try {
    return byteLength(value.type, value.shape);
  } catch (cause) {
    throw new FormatError({ where, expected: 'a possible size', received: formatType(value) }, { cause });
  }
}

/** Data that a writer listed as numbers instead of raw bytes. */
function listedData(proto: Onnx.ITensorProto, type: ElementType, shape: readonly number[], where: string): Uint8Array {
  const ints = proto.int32Data ?? [];
  switch (type) {
    case 'float32':
      return bytesOf(Float32Array.from(proto.floatData ?? []));
    case 'float64':
      return bytesOf(Float64Array.from(proto.doubleData ?? []));
    case 'int64':
      return bytesOf(BigInt64Array.from(proto.int64Data ?? [], (item) => BigInt(item.toString())));
    case 'int32':
      return bytesOf(Int32Array.from(ints));
    case 'int16':
    case 'uint16':
    case 'float16':
      return bytesOf(Uint16Array.from(ints));
    case 'int8':
    case 'uint8':
    case 'bool':
    case 'int4':
    case 'uint4':
      return Uint8Array.from(ints);
    default:
      throw new FormatError({
        where,
        expected: `data of ${elementCount(shape)} elements`,
        received: type satisfies never,
      });
  }
}

function readReference(
  entries: readonly Onnx.IStringStringEntryProto[],
  expected: number,
  where: string,
): ExternalReference {
  const fields = new Map(entries.map(({ key, value }) => [key ?? '', value ?? '']));
  const number = (key: string, otherwise: number): number => {
    const value = fields.get(key);
    if (value === undefined) return otherwise;
    if (!/^\d{1,16}$/.test(value) || !Number.isSafeInteger(Number(value))) {
      throw new FormatError({ where, expected: `an external ${key} of whole bytes`, received: JSON.stringify(value) });
    }
    return Number(value);
  };
  const length = number('length', expected);
  if (length !== expected)
    throw new FormatError({
      where,
      expected: `${expected} bytes of external data for its shape`,
      received: `${length}`,
    });
  return { location: text(fields.get('location'), `${where}: external location`), offset: number('offset', 0), length };
}

/** The default way to read a reference: not at all. */
function unread({ location }: ExternalReference, { name }: ValueInfo): Initializer['data'] {
  return () => {
    throw new GraphError({
      where: `initializer '${name}'`,
      expected: 'data in the model',
      received: `a reference to the file '${location}'`,
      advice: 'Read the model with readModel(path), or tell decodeModel how to read `external` data.',
    });
  };
}

/** A value's type; undefined when its shape is not known. */
function readValue({ name, type }: Onnx.IValueInfoProto, kind: string): ValueInfo | undefined {
  const title = text(name, `graph ${kind}`);
  const where = `${kind} '${title}'`;
  const tensor = type?.tensorType;
  if (!tensor) throw new FormatError({ where, expected: 'the type of a tensor', received: 'another or none' });
  const element = elementType(tensor.elemType, where);
  if (!tensor.shape) return undefined;
  const shape = (tensor.shape.dim ?? []).map(({ dimValue, dimParam }) =>
    dimValue == null ? (dimParam ?? '') : count(dimValue, where),
  );
  return { name: title, type: element, shape };
}

function wellKnown(proto: Onnx.IValueInfoProto, kind: string): ValueInfo {
  const value = readValue(proto, kind);
  if (!value) throw new FormatError({ where: `${kind} '${proto.name}'`, expected: 'a shape', received: 'none' });
  return value;
}

function elementType(code: number | null | undefined, where: string): ElementType {
  const type = elementTypeOfCode(code ?? 0);
  if (type) return type;
  const name = TensorProto.DataType[code ?? 0];
  throw new FormatError({
    where,
    expected: 'a supported element type',
    received: name ? `${name} (${code})` : `number ${code}`,
  });
}

function text(value: string | null | undefined, where: string): string {
  if (value) return value;
  throw new FormatError({ where, expected: 'a name', received: 'none' });
}

/** A 64-bit integer that JavaScript's numbers hold exactly. */
function whole(value: number | { toString(): string }, where: string): number {
  const number = Number(value.toString());
  if (Number.isSafeInteger(number)) return number;
  throw new FormatError({ where, expected: 'an integer of at most 53 bits', received: value.toString() });
}

function count(value: number | { toString(): string }, where: string): number {
  const number = whole(value, where);
  if (number >= 0) return number;
  throw new FormatError({ where, expected: 'a number ≥ 0', received: `${number}` });
}

function refuse(found: number | undefined, where: string, what: string): void {
  if (found) throw new FormatError({ where, expected: `no ${what}, which are not supported`, received: `${found}` });
}

const bytesOf = ({ buffer, byteOffset, byteLength: length }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, length);

/** Without Node's Buffer class, whose `slice` and `toJSON` differ. */
const plain = (bytes: Uint8Array): Uint8Array => bytesOf(bytes);
