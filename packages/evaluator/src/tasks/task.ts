/**
 * Tasks as data: where the items are, what a model is asked, what counts. The fields stand for those of lm-evaluation-harness's YAML files
 * (`doc_to_text`, `doc_to_choice`, `doc_to_target`, `metric_list`), with which results are to be compared.
 */
import type { MetricName } from './metrics.ts';
import type { Item } from './template.ts';

interface TaskBase {
  readonly name: string;
  /** Of the harness's definition. */
  readonly version: number;
  /** Below the directory of the data; the first of these that is there, as it is or in Parquet. */
  readonly files: readonly string[];
  /** Where the same items are on the Hugging Face hub: a dataset, and of which config; the split is the name of the file. */
  readonly hub?: { readonly dataset: string; readonly config?: string };
  /** Only items that have these values. */
  readonly where?: Readonly<Record<string, string>>;
  /** Applied to each item before anything else. */
  readonly prepare?: (item: Item) => Item;
  readonly metrics: readonly MetricName[];
}

/**
 * Which solved items stand before an item: the first ones, or random ones; or random ones of which one more is drawn than is needed, so that
 * the item itself can be left out, as the harness does where solved items and items may come from one split.
 */
export type ShotOrder = 'first' | 'random' | 'random-others';

/** A task that can be preceded by solved items of its kind. */
interface PromptTask extends TaskBase {
  /** Before everything else. */
  readonly description?: string;
  /** A template. */
  readonly prompt: string;
  /** Solved items. Default: from the task's own items, at random, as the harness draws them: the item itself may be among them. `parseTask` leaves it out. */
  readonly shots?: { readonly files: readonly string[]; readonly order: ShotOrder };
}

/** Which of some answers is right: the likeliest behind the prompt counts. */
export interface ChoiceTask extends PromptTask {
  readonly kind: 'choice';
  /** The field that has the answers, or the answers themselves, the same for every item. */
  readonly choices: string | readonly string[];
  /** The field that has the right one's number, or one whose value is found in a list that another has. */
  readonly gold: string | { readonly find: string; readonly in: string };
}

/** How likely one continuation of the prompt is. */
export interface ContinuationTask extends PromptTask {
  readonly kind: 'continuation';
  /** A template. */
  readonly continuation: string;
}

/** How likely a whole document is, in windows. */
export interface TextTask extends TaskBase {
  readonly kind: 'text';
  /** A template: what the model reads. */
  readonly text: string;
  /** A template: what words and bytes are counted in. */
  readonly counted: string;
}

export type Task = ChoiceTask | ContinuationTask | TextTask;

/** Tasks that are also counted together, each with the weight of its items. */
export interface TaskGroup {
  readonly name: string;
  readonly tasks: readonly string[];
  readonly metrics: readonly MetricName[];
}
