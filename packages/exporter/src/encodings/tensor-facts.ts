/**
 * What an encodings file leaves out about its tensors, from elsewhere: best from the model that it belongs to.
 *
 * Up to 1.0.0 no axis is said (that of output channels is meant) and no shape; from 2.0.0 on, parameters are not told from activations.
 */
import type { Graph, Node } from '@mobilequant/graph';
import { EncodingsError } from './encodings-error.ts';
import type { Blocks, TensorEncoding, TensorGranularity } from './tensor-encoding.ts';

export interface TensorFacts {
  /** The axis of output channels. */
  readonly axisOf?: (name: string) => number;
  /** Needed for blocks of 1.0.0, checked where it is known. */
  readonly shapeOf?: (name: string) => readonly number[] | undefined;
  readonly isParam?: (encoding: TensorEncoding) => boolean;
}

/** What is taken where nothing is known: channels on axis 0; parameters are what has more than one scale, or is symmetric. */
export const defaultFacts: Required<Omit<TensorFacts, 'shapeOf'>> = {
  axisOf: () => 0,
  isParam: (encoding) => encoding.kind === 'integer' && (encoding.symmetric || encoding.granularity.kind !== 'tensor'),
};

/** What a graph says of its tensors: shapes of constants, and the axis of their output channels by what reads them. */
export function tensorFacts(graph: Graph): TensorFacts {
  const readers = new Map<string, Node>();
  for (const node of graph.nodes)
    for (const [i, name] of node.inputs.entries()) if (i === 1 || !readers.has(name)) readers.set(name, node);
  const shapeOf = (name: string): readonly number[] | undefined => graph.initializers.get(name)?.shape;
  return {
    shapeOf,
    isParam: ({ name }) => graph.initializers.has(name),
    axisOf(name) {
      const reader = readers.get(name);
      const rank = shapeOf(name)?.length ?? 1;
      if (reader?.inputs[1] !== name || rank < 2) return 0;
      if (reader.op === 'MatMul') return rank - 1;
      if (reader.op === 'ConvTranspose') return 1;
      return reader.op === 'Gemm' && reader.attributes['transB'] !== 1 ? 1 : 0;
    },
  };
}

/** One scale for each channel, along the axis that the facts say. */
export function channelsBy(
  { axisOf = defaultFacts.axisOf, shapeOf }: TensorFacts,
  name: string,
  channels: number,
  where: string,
): TensorGranularity {
  const axis = axisOf(name);
  const shape = shapeOf?.(name);
  if (shape && shape.at(axis) !== channels)
    throw new EncodingsError(
      where,
      `${shape.at(axis)} scales, one for each channel on axis ${axis} of [${shape.join(', ')}]`,
      `${channels}`,
      'Give the model that the encodings belong to.',
    );
  return { kind: 'channel', axis };
}

/**
 * How blocks lie in a tensor whose file says only their size: along the input channels, which lie before those of the output, or
 * behind where these come first. `channels` where the file says that too.
 */
export function blocksBy(
  { axisOf = defaultFacts.axisOf, shapeOf }: TensorFacts,
  name: string,
  {
    size,
    channels,
    blocks,
  }: { readonly size: number; readonly channels?: number; readonly blocks: (channels: number) => number },
  where: string,
): Blocks {
  const shape = shapeOf?.(name);
  const said = axisOf(name);
  const channelAxis = said < 0 && shape ? said + shape.length : said;
  const axis = channelAxis === 0 ? 1 : channelAxis - 1;
  if (shape === undefined) {
    if (channels !== undefined) return { axis, channelAxis, channels, size, rank: Math.max(axis, channelAxis) + 1 };
    throw new EncodingsError(
      where,
      'the shape of a tensor in blocks',
      'none',
      'This version leaves it out: give the model that the encodings belong to.',
    );
  }
  const [rows, columns] = [shape[channelAxis], shape[axis]];
  if (
    rows === undefined ||
    columns === undefined ||
    (channels ?? rows) !== rows ||
    blocks(rows) !== Math.ceil(columns / size)
  )
    throw new EncodingsError(
      where,
      `${rows ?? 'some'} channels of ${Math.ceil((columns ?? 0) / size)} blocks, by the shape [${shape.join(', ')}]`,
      `${channels ?? rows} of ${blocks(channels ?? rows ?? 1)}`,
      'Give the model that the encodings belong to.',
    );
  return { axis, channelAxis, channels: rows, size, rank: shape.length };
}
