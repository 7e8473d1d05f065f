/**
 * A GGUF file on disk, as the Hugging Face checkpoint that it was made from: the header is read and checked when it is opened,
 * tensors only when they are asked for, and of them only the blocks that are asked for.
 */
import type { CheckpointWeights } from './checkpoint-weights.ts';
import type { DType } from './dtype.ts';
import { FormatError } from './errors.ts';
import { type GgufHeader, type GgufTensor, parseGgufHeader } from './gguf.ts';
import { dequantize, type GgmlType, ggmlTypeInfo } from './gguf-blocks.ts';
import { ggufModel } from './gguf-config.ts';
import { type GgufView, ggufViews, interleavedRow } from './gguf-names.ts';
import { type GgufTokenizer, ggufTokenizer } from './gguf-tokenizer.ts';
import type { JsonObject } from './json.ts';
import { elementsOf } from './safetensors.ts';
import { type PlaceReader, type StampedFile, stampedFile } from './stamped-file.ts';
import { columnsOf, contiguousRuns } from './tensor-file.ts';

/** An opened GGUF file. */
export interface GgufFile {
  readonly path: string;
  readonly header: GgufHeader;
  /** What `config.json` would say. */
  readonly config: JsonObject;
  /** The tensors by their Hugging Face names, in the order and with the values that the checkpoint had, up to rounding. */
  readonly weights: CheckpointWeights;
  /** What `tokenizer.json` and `tokenizer_config.json` would say. Throws a `FormatError` for a vocabulary that is not understood. */
  tokenizer(): GgufTokenizer;
}

const FIRST_READ = 1 << 20;
const CHUNK_ELEMENTS = 1 << 20; // what is converted at once, so that reading needs little more than its result

/** Opens a GGUF file. Throws a `FormatError` if its header is not in order, or if the model is not covered. */
export async function openGguf(path: string): Promise<GgufFile> {
  const source = await stampedFile(path);
  const header = await readHeader(source);
  const factors = header.tensors.get('rope_freqs.weight');
  const { architecture, config, sizes } = ggufModel(header, path, factors && (await readTensor(source, factors)));
  const views = ggufViews(architecture, header.tensors, sizes, path);
  return {
    path,
    header,
    config,
    weights: weightsOf(source, views),
    tokenizer: () => ggufTokenizer(header, path),
  };
}

/** How long a header is, nobody knows before it is read: four times as much is tried until it is enough. */
async function readHeader(source: StampedFile): Promise<GgufHeader> {
  for (let length = FIRST_READ; ; length *= 4) {
    const start = Math.min(length, source.bytes);
    const bytes = await source.use((reader) => reader.read(0, start));
    const header = parseGgufHeader(bytes, source.bytes, source.path);
    if (header) return header;
  }
}

function weightsOf(source: StampedFile, views: ReadonlyMap<string, GgufView>): CheckpointWeights {
  const viewOf = (name: string): GgufView => {
    const view = views.get(name);
    if (view) return view;
    const [where, expected] = ['weights', `a tensor '${name}'`];
    const cure = 'Check that the weights belong to the config.';
    throw new FormatError({ file: source.path, where, expected, received: 'none', cure });
  };
  const names = [...views.keys()];
  return {
    names: () => names,
    has: (name) => views.has(name),
    shape: (name) => viewOf(name).shape,
    dtype: (name) => storedAs(viewOf(name).source.type),
    read: async (name) => {
      const view = viewOf(name);
      const rows = view.shape[0] as number;
      const out = new Float32Array(elementsOf(view.shape));
      await source.use((reader) => readRows(reader, view, 0, rows, out));
      return view.heads ? uninterleaved(out, rows, rows / view.heads) : out;
    },
    readRows: async (name, rows) => {
      const view = viewOf(name);
      const columns = columnsOf(name, view.shape, rows);
      const headDim = view.heads && (view.shape[0] as number) / view.heads;
      const places = headDim ? Array.from(rows, (row) => interleavedRow(row, headDim)) : rows;
      const out = new Float32Array(rows.length * columns);
      await source.use(async (reader) => {
        for (const { at, first, count } of contiguousRuns(places)) {
          await readRows(reader, view, first, count, out.subarray(at * columns, (at + count) * columns));
        }
      });
      return out;
    },
  };
}

/** The type that numbers came from: what is quantized was made from 16 bits, and is scaled in them. */
const storedAs = (type: GgmlType): DType =>
  type === 'F32' ? 'float32' : type === 'F64' ? 'float64' : type === 'BF16' ? 'bfloat16' : 'float16';

/** Rows of a view in the order of the file. */
async function readRows(
  reader: PlaceReader,
  { source, firstRow, offset }: GgufView,
  first: number,
  count: number,
  out: Float32Array,
): Promise<void> {
  if (count === 0) return;
  await readElements(reader, source, (firstRow + first) * (out.length / count), out);
  if (offset !== 0) for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) + offset;
}

/** Elements of a tensor from one on, which begins a block. */
async function readElements(reader: PlaceReader, tensor: GgufTensor, from: number, out: Float32Array): Promise<void> {
  const { block, bytes } = ggmlTypeInfo(tensor.type);
  for (let start = 0; start < out.length; start += CHUNK_ELEMENTS) {
    const part = out.subarray(start, start + CHUNK_ELEMENTS);
    const position = tensor.begin + ((from + start) / block) * bytes;
    dequantize(tensor.type, await reader.read(position, (part.length / block) * bytes), part);
  }
}

async function readTensor(source: StampedFile, tensor: GgufTensor): Promise<Float32Array> {
  const out = new Float32Array(elementsOf(tensor.shape));
  await source.use((reader) => readElements(reader, tensor, 0, out));
  return out;
}

/** Rows back in the order of the checkpoint. */
function uninterleaved(values: Float32Array, rows: number, headDim: number): Float32Array {
  const out = new Float32Array(values.length);
  const width = values.length / rows;
  for (let row = 0; row < rows; row++) {
    const from = interleavedRow(row, headDim) * width;
    out.set(values.subarray(from, from + width), row * width);
  }
  return out;
}
