/**
 * Runs passes one after the other, and says which one broke a graph.
 */
import { GraphError } from './errors.ts';
import type { Graph } from './graph.ts';
import { verify } from './verify.ts';

/** A rewriting of a graph; its function's name is the name of the pass, its docstring says what it requires and ensures. */
export type Pass = (graph: Graph) => Graph;

export interface RunPassesOptions {
  /** Check all rules before the first pass and after each. Default false. */
  readonly verify?: boolean;
}

/**
 * The graph after all passes.
 *
 * @throws GraphError that names the pass that failed and those before it; its cause is what was thrown.
 */
export function runPasses(
  graph: Graph,
  passes: readonly Pass[],
  { verify: isChecked = false }: RunPassesOptions = {},
): Graph {
  const names = passes.map(({ name }, i) => name || `pass ${i + 1}`);
  const step = (i: number, run: () => Graph): Graph => {
    try {
      const result = run();
      return isChecked ? verify(result) : result;
    } catch (cause) {
      const before = names.slice(0, Math.max(i, 0));
      throw new GraphError(
        {
          where: `runPasses: ${names[i] ?? 'before the first pass'}${before.length > 0 ? `, after ${before.join(', ')}` : ''}`,
          expected: 'a valid graph',
          received: cause instanceof Error ? `${cause.name}: ${cause.message.replace(/\.$/, '')}` : String(cause),
        },
        { cause },
      );
    }
  };
  return passes.reduce((current, pass, i) => step(i, () => pass(current)), isChecked ? step(-1, () => graph) : graph);
}
