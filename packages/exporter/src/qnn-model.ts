/**
 * The pair of graphs for an NPU as a language model on this machine: as they are written, or in the arithmetic of the device. Prefill
 * reads the beginning of a text, decode goes on behind its cache, and the cache is integers all the time.
 */
import type { LanguageModel, TextReader } from '@mobilequant/core';
import type { Graph } from '@mobilequant/graph';
import type { Program, Runtime, RuntimeOptions, Value, Values } from '@mobilequant/tracer';
import { ExportError } from './errors.ts';
import { gridOfLogits, type QnnGraphs } from './export-qnn.ts';
import { htpArithmetic } from './htp/htp-arithmetic.ts';

export interface QnnPair {
  readonly prefill: QnnGraphs;
  readonly decode: QnnGraphs;
}

export interface QnnModelOptions {
  /** How operators round: as the graph says (float between DequantizeLinear and QuantizeLinear), or as HTP does. Default `written`. */
  readonly arithmetic?: 'written' | 'htp';
}

/** Every operator as it is written: float between DequantizeLinear and QuantizeLinear. */
const AS_WRITTEN: RuntimeOptions = { optimization: 'disabled', integerProducts: false };

/**
 * Runs prefill and decode. Texts whose logits are asked for as a whole have the length of prefill at most; one that is begun may grow to
 * what the cache holds, and one token more.
 *
 * @throws ExportError for graphs that do not fit together, and for operators whose arithmetic on HTP is not known.
 */
export async function qnnModel(
  runtime: Runtime,
  { prefill, decode }: QnnPair,
  { arithmetic = 'written' }: QnnModelOptions = {},
): Promise<LanguageModel> {
  const ids = shapeOf(prefill.inputs, 'input_ids');
  if (ids.length !== 1)
    throw new ExportError(
      'input_ids',
      'ids of the shape [tokens]',
      `[${ids.join(', ')}]`,
      'What was exported for GenAI runs in GenAI; export with the target qnn-qdq to run it here.',
    );
  const [length] = ids as [number];
  const [, vocab] = shapeOf(prefill.graph, 'logits') as [number, number];
  const [heads, given, size] = shapeOf(prefill.graph, 'present.0.keys') as [number, number, number];
  const [room] = shapeOf(decode.graph, 'past.0.keys').slice(1) as [number];
  const prefix = given - length;
  const step = shapeOf(decode.inputs, 'input_ids')[0];
  if (step !== 1) throw new ExportError('decode', 'a graph of one token', `${step}`, 'Export it with tokens: 1.');
  const caches = decode.graph.inputs.map(({ name }) => name).filter((name) => name.startsWith('past.'));

  const [first, next] = [await programsOf(runtime, prefill, arithmetic), await programsOf(runtime, decode, arithmetic)];
  const toLogits = logitsOf(prefill.graph);
  const toNextLogits = logitsOf(decode.graph);

  const prefilled = async (tokens: Int32Array): Promise<Values> => {
    if (tokens.length > length) throw tooLong('input_ids', length, tokens.length, 'tokens');
    const padded = new Int32Array(length);
    padded.set(tokens);
    return first({ input_ids: { data: padded, shape: [length] } });
  };

  const begin = (): TextReader => {
    const cache: Values = Object.fromEntries(
      caches.map((name) => [name, { data: new Uint8Array(heads * room * size).fill(128), shape: [heads, room, size] }]),
    );
    let position = 0; // of the next token, the prefix counted
    /** The first `count` new entries of every layer go behind those that are there. */
    const put = (outputs: Values, count: number): void => {
      for (const name of caches) {
        const { data, shape } = outputs[name.replace('past', 'present')] as Value;
        const to = cache[name]?.data as Uint8Array;
        for (let head = 0; head < heads; head++) {
          const from = head * (shape[1] as number) * size;
          to.set((data as Uint8Array).subarray(from, from + count * size), (head * room + position) * size);
        }
      }
    };
    return {
      async read(tokens) {
        if (tokens.length === 0) throw new ExportError('input_ids', 'at least one token', 'none', 'Give one.');
        const end = Math.max(position, prefix) + tokens.length;
        if (end > room + 1) throw tooLong('the text', room + 1 - prefix, end - prefix, 'context');
        let logits: Float32Array | undefined;
        let rest = tokens;
        if (position === 0) {
          const begun = tokens.subarray(0, length);
          const outputs = await prefilled(begun);
          logits = toLogits(outputs, begun.length - 1);
          put(outputs, Math.min(prefix + begun.length, room));
          position = prefix + begun.length;
          rest = tokens.subarray(length);
        }
        for (const token of rest) {
          const outputs = await next({
            ...cache,
            input_ids: { data: Int32Array.of(token), shape: [1] },
            past_length: { data: Int32Array.of(position), shape: [1] },
          });
          logits = toNextLogits(outputs, 0);
          if (position < room) put(outputs, 1); // what comes behind the last one will not be read
          position++;
        }
        return logits as Float32Array;
      },
    };
  };

  return {
    vocab,
    async logits(tokens) {
      const outputs = await prefilled(tokens);
      const all = new Float32Array(tokens.length * vocab);
      for (let row = 0; row < tokens.length; row++) all.set(toLogits(outputs, row), row * vocab);
      return all;
    },
    begin,
    async release() {
      await Promise.all([first.release(), next.release()]);
    },
  };
}

interface Pair {
  /** What goes into either graph, by name → what the device gives out. */
  (given: Values): Promise<Values>;
  release(): Promise<void>;
}

/** A graph behind the one that prepares its inputs. */
async function programsOf(
  runtime: Runtime,
  { graph, inputs }: QnnGraphs,
  arithmetic: 'written' | 'htp',
): Promise<Pair> {
  const computed = arithmetic === 'htp' ? await htpArithmetic(graph) : graph;
  const programs: Program[] = [await runtime.compile(inputs), await runtime.compile(computed, AS_WRITTEN)];
  const [prepare, program] = programs as [Program, Program];
  const own = new Set(inputs.inputs.map(({ name }) => name));
  const run = async (given: Values): Promise<Values> => {
    const entries = Object.entries(given);
    const prepared = await prepare.run(Object.fromEntries(entries.filter(([name]) => own.has(name))));
    return program.run({ ...prepared, ...Object.fromEntries(entries.filter(([name]) => !own.has(name))) });
  };
  return Object.assign(run, {
    release: async () => {
      await Promise.all(programs.map((each) => each.release()));
    },
  });
}

/** A row of the logits as reals. */
function logitsOf(graph: Graph): (outputs: Values, row: number) => Float32Array {
  const { scale, zeroPoint } = gridOfLogits(graph);
  return ({ logits }, row) => {
    const { data, shape } = logits as Value;
    const vocab = shape[1] as number;
    const levels = (data as Uint16Array).subarray(row * vocab, (row + 1) * vocab);
    return Float32Array.from(levels, (level) => (level - zeroPoint) * scale);
  };
}

function shapeOf({ inputs, outputs }: Graph, name: string): readonly number[] {
  const shape = [...inputs, ...outputs].find((value) => value.name === name)?.shape;
  if (shape?.every((size) => typeof size === 'number')) return shape as readonly number[];
  throw new ExportError(
    name,
    'a value of static size',
    'none',
    'Give graphs that exportQnnPrefill and exportQnnDecode made.',
  );
}

const tooLong = (where: string, most: number, received: number, option: string): ExportError =>
  new ExportError(where, `at most ${most} tokens`, `${received}`, `Export the model with more \`${option}\`.`);
