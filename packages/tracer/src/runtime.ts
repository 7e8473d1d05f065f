/**
 * Runs graphs on an ONNX Runtime, whichever one: `node.ts` and `web.ts` bring theirs.
 */
import { encodeModel, type Graph, integerProducts, prune } from '@mobilequant/graph';
import type { InferenceSession, InferenceSessionFactory, Tensor, TensorConstructor } from 'onnxruntime-common';
import { FeedError } from './errors.ts';
import { productsAreExact } from './exact-products.ts';
import { type InputSpecs, type Traceable, trace } from './trace.ts';

export type TensorData = Float32Array | Int32Array | Uint8Array | Int8Array | Uint16Array | BigInt64Array;

/** A tensor's values, row-major. */
export interface Value {
  readonly data: TensorData;
  readonly shape: readonly number[];
}

export type Values = Readonly<Record<string, Value>>;

/** Values by name: those of `Output` for certain, others perhaps. */
export type Results<Output extends string = string> = Readonly<Record<Output, Value>> & Values;

/** What an input takes; a string stands for a size that is known at run time. */
export interface InputType {
  /** As ONNX Runtime calls it: `int64`, `float32`, …. */
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

/** A compiled graph. */
export interface Program<Output extends string = string> {
  readonly inputs: readonly string[];
  /** What a loaded file says of its inputs. */
  readonly inputTypes?: ReadonlyMap<string, InputType>;
  readonly outputs: readonly string[];
  /**
   * Computes the outputs from the inputs. Values that the graph does not take are ignored, so that one
   * set of values may feed several programs.
   * @throws FeedError for an input that is missing or has another size than the graph says.
   */
  run(feeds: Values): Promise<Results<Output>>;
  release(): Promise<void>;
}

export interface RuntimeOptions {
  /** Threads inside one operator; default 1. */
  readonly threads?: number;
  /** Execution providers of ONNX Runtime, first choice first; default `['cpu']`. */
  readonly executionProviders?: readonly string[];
  /** ONNX Runtime's own graph optimisation: `basic` by default, since the passes of this project do the rest. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all';
  /**
   * Busy waiting of the thread pool: fastest with one session at work, wasteful with several. Default false.
   */
  readonly spinning?: boolean;
  /** Reserves all memory of a run at once: faster, but doubles the peak of very large blocks. Default true. */
  readonly memoryPattern?: boolean;
  /** Multiply in integers where a linear layer's operands are quantized, if that is exact here: the same value, faster. Default true. */
  readonly integerProducts?: boolean;
  /** Lets ONNX Runtime fuse QuantizeLinear / DequantizeLinear around operators. Default false: it would copy each per consumer. */
  readonly fuseQuantization?: boolean;
}

/** Runs functions written in tfjs operations: traced and compiled (`Runtime`), or as they are (`eagerExecutor`). */
export interface Executor {
  /** The function as a program; the names of its inputs and outputs are those of `specs` and of what `fn` returns. */
  program<const Specs extends InputSpecs, Output extends string>(
    fn: Traceable<Specs, Output>,
    specs: Specs,
  ): Promise<Program<Output>>;
}

export interface Runtime extends Executor {
  readonly options: RuntimeOptions;
  compile(graph: Graph, options?: RuntimeOptions): Promise<Program>;
  /** Whether integer products are exact here (see `exact-products.ts`); measured once. Where not, products stay in float. */
  exactIntegerProducts(): Promise<boolean>;
  /** Loads a model from a file (Node) or bytes. */
  load(model: string | Uint8Array, options?: RuntimeOptions): Promise<Program>;
}

/** The part of onnxruntime-node and onnxruntime-web that is used. */
export interface OnnxRuntime {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor;
}

const TYPES = new Map<object, Tensor.Type>([
  [Float32Array, 'float32'],
  [Int32Array, 'int32'],
  [Uint8Array, 'uint8'],
  [Int8Array, 'int8'],
  [Uint16Array, 'uint16'],
  [BigInt64Array, 'int64'],
]);

/** A runtime over an implementation of ONNX Runtime. */
export function createRuntime(ort: OnnxRuntime, defaults: RuntimeOptions = {}): Runtime {
  const load = async (model: string | Uint8Array, options?: RuntimeOptions): Promise<Program> => {
    const session = await createSession(ort, model, { ...defaults, ...options });
    return programOf(ort, session);
  };
  let exact: Promise<boolean> | undefined;
  const exactIntegerProducts = (): Promise<boolean> => {
    exact ??= productsAreExact(async (graph) => load(await encodeModel(graph)));
    return exact;
  };
  const compile = async (graph: Graph, options?: RuntimeOptions): Promise<Program> => {
    const wanted = { ...defaults, ...options }.integerProducts ?? true;
    const integers = wanted && (await exactIntegerProducts());
    return load(await encodeModel(integers ? prune(integerProducts(graph)) : graph), options);
  };
  return {
    options: defaults,
    load,
    compile,
    exactIntegerProducts,
    program: (fn, specs) => compile(trace(fn, specs)), // a graph has the names of what the function returns
  };
}

function createSession(
  ort: OnnxRuntime,
  model: string | Uint8Array,
  options: RuntimeOptions,
): Promise<InferenceSession> {
  const {
    threads = 1,
    executionProviders = ['cpu'],
    optimization = 'basic',
    spinning = false,
    memoryPattern = true,
  } = options;
  const sessionOptions: InferenceSession.SessionOptions = {
    executionProviders: [...executionProviders],
    intraOpNumThreads: threads,
    graphOptimizationLevel: optimization,
    enableMemPattern: memoryPattern,
    logSeverityLevel: 3,
    extra: {
      session: {
        disable_quant_qdq: options.fuseQuantization ? '0' : '1',
        intra_op: { allow_spinning: spinning ? '1' : '0' },
      },
    },
  };
  return typeof model === 'string'
    ? ort.InferenceSession.create(model, sessionOptions)
    : ort.InferenceSession.create(model, sessionOptions);
}

function programOf(ort: OnnxRuntime, session: InferenceSession): Program {
  const expected = new Map(session.inputMetadata.map((input) => [input.name, input]));
  return {
    inputs: session.inputNames,
    inputTypes: new Map(
      session.inputMetadata.flatMap((input) =>
        input.isTensor ? [[input.name, { type: input.type, shape: input.shape }]] : [],
      ),
    ),
    outputs: session.outputNames,
    run: async (feeds) => {
      const tensors: Record<string, Tensor> = {};
      for (const name of session.inputNames) {
        const value = feeds[name];
        if (!value) throw new FeedError(`Program.run: expected a value for input '${name}', got none.`);
        const metadata = expected.get(name);
        checkShape(name, value, metadata?.isTensor ? metadata.shape : undefined);
        const type = metadata?.isTensor && metadata.type === 'bool' ? 'bool' : TYPES.get(value.data.constructor);
        tensors[name] = new ort.Tensor(type as 'float32', value.data as Float32Array, value.shape);
      }
      const results = await session.run(tensors);
      return Object.fromEntries(
        Object.entries(results).map(([name, tensor]) => [
          name,
          { data: tensor.data as TensorData, shape: tensor.dims },
        ]),
      );
    },
    release: () => session.release(),
  };
}

function checkShape(name: string, { data, shape }: Value, expected: readonly (number | string)[] | undefined): void {
  const size = shape.reduce((product, d) => product * d, 1);
  if (data.length !== size)
    throw new FeedError(`Program.run: expected ${size} elements for '${name}' [${shape}], got ${data.length}.`);
  if (!expected) return;
  const fits = expected.length === shape.length && expected.every((d, i) => typeof d === 'string' || d === shape[i]);
  if (!fits) throw new FeedError(`Program.run: expected '${name}' of shape [${expected}], got [${shape}].`);
}
