/**
 * What a page shows, as plain data: JSON throughout, so that it can be kept in a file and shown again. Whatever was not measured is
 * absent, and its section is not there.
 *
 * Sites are looked at in the first model; the others stand beside it in tables and curves.
 */

export interface ReportData {
  readonly models: readonly [ModelFacts, ...ModelFacts[]];
  /** The text and how it was read; said once, for all that was measured. */
  readonly conditions?: readonly string[];
  readonly ranges?: readonly SiteRanges[];
  readonly noise?: Noise;
  readonly divergences?: Divergences;
  /** Of one model or more: the original, and what became of it. */
  readonly outliers?: readonly { readonly model: string; readonly found: readonly Outlier[] }[];
  readonly overrides?: readonly Override[];
  /** What made the page, with its version. */
  readonly tool: string;
}

export interface ModelFacts {
  readonly name: string;
  /** The float model that it was made of. */
  readonly source: string;
  readonly recipe: string;
  readonly method: string;
  /** What the method was told: name and value. */
  readonly options: readonly (readonly [string, string])[];
  readonly score?: Score;
  /** Bytes of the tensors in float32, and as they are quantized. */
  readonly floatBytes: number;
  readonly bytes: number;
  /** Bytes by width; 32 bits are float. */
  readonly weights: readonly { readonly bits: number; readonly bytes: number }[];
  /** Multiply-accumulates a token, by the widths of weights and of what they are multiplied with. */
  readonly work: readonly { readonly weightBits: number; readonly inputBits: number; readonly products: number }[];
  readonly tuning?: Tuning;
}

/** What `evaluate` found. */
export interface Score {
  readonly form: string;
  readonly perplexity: number;
  readonly windows?: number;
  readonly comparison?: Comparison;
}

export interface Comparison {
  /** What it is compared with: the original model, or the directory's own float form. */
  readonly with: string;
  /** Of that. */
  readonly perplexity: number;
  /** Of the perplexities. */
  readonly ratio: number;
  readonly standardError?: number;
  /** Nats a token. */
  readonly divergence: number;
  /** Share of equal likeliest tokens. */
  readonly agreement: number;
}

export interface Tuning {
  /** The step whose state was kept. */
  readonly step: number;
  /** Divergence from the float model on text that was held out. */
  readonly evaluations: readonly { readonly step: number; readonly divergence: number }[];
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** One site in every layer; a hole is a layer that does not have it. */
export interface SiteRanges {
  /** Its name in the layer. */
  readonly site: string;
  /** What passed it in the model that this one was made of. */
  readonly before: readonly (Range | null)[];
  /** What its grid covers. */
  readonly after: readonly (Range | null)[];
}

/** A number for one site in every layer. */
export interface SiteValues {
  readonly site: string;
  readonly layers: readonly (number | null)[];
}

/** Signal to noise in dB; null also stands for no noise at all. */
export interface Noise {
  /** Of what a site's own rounding adds. */
  readonly own: readonly SiteValues[];
  /** Of all that differs from the float model there. */
  readonly total: readonly SiteValues[];
}

/** What rounding does to the logits, in nats a token. */
export interface Divergences {
  /** Of the quantized model from the float one. */
  readonly whole: number;
  /** One site in all layers together. */
  readonly kinds: readonly KindDivergence[];
  /** Single sites of the layers; the whole on the text on which they were measured. */
  readonly sites?: {
    readonly whole: number;
    readonly alone: readonly SiteValues[];
    readonly spared: readonly SiteValues[];
  };
}

export interface KindDivergence {
  readonly site: string;
  readonly bits: number;
  /** Of the float model in which it alone is rounded. */
  readonly alone: number;
  /** What is left of the whole when it alone stays in float. */
  readonly spared: number;
}

export interface Outlier {
  /** Full name. */
  readonly site: string;
  readonly channel: Peak;
  readonly token: Peak & { readonly before: string; readonly text: string; readonly after: string };
}

export interface Peak {
  readonly index: number;
  readonly largest: number;
  readonly median: number;
}

/** A recipe to try next. */
export interface Override {
  readonly title: string;
  readonly why: string;
  /** Of the file that it is to be saved as. */
  readonly file: string;
  readonly recipe: unknown;
}
