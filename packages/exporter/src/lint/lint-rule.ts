/** What a rule of the linter is: small, with a name, and a function from a graph to what breaks it. */
import type { LintFacts } from './lint-facts.ts';

/** An error is refused, or silently computed otherwise; a warning costs time or a little accuracy, or may be meant. */
export type Severity = 'error' | 'warning';

/** What runs the graph: an NPU, by the rules of Qualcomm's HTP, or ONNX Runtime on a processor. */
export type LintDevice = 'npu' | 'processor';

/** A place that breaks a rule, and what to do about it. */
export interface Breach {
  /** An operator, a tensor, or the graph. */
  readonly where: string;
  readonly found: string;
  readonly advice: string;
}

export interface LintRule {
  readonly name: string;
  readonly severity: Severity;
  /** What must hold, and what happens where it does not: a sentence. */
  readonly description: string;
  /** Left out: all. */
  readonly device?: LintDevice;
  check(facts: LintFacts): Breach[];
}

export interface Finding extends Breach {
  readonly rule: string;
  readonly severity: Severity;
}
