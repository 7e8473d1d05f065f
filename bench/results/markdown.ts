/** From records to the document of results: nothing but these and the config is needed. */
import {
  formatNumber,
  type LogRatio,
  markdownTable,
  pairedLogRatio,
  type Table,
  type WindowScore,
} from '@mobilequant/evaluator';
import { duration } from 'mobilequant';
import type { Config, ModelEntry, TextEntry } from './config.ts';
import { askedOf, formsOf, rowsOf, type Selection, textsOf } from './jobs.ts';
import { type NewestRecords, newestRecords } from './newest-records.ts';
import type { MeasurementRecord, MeasurementResult, QuantizationRecord, ResultRecord } from './record.ts';
import { ROW_GROUPS, type Row, SAMPLES_OF_FAST, WIDTHS, type Width } from './rows.ts';
import { taskRecordsOf, tasksSection } from './tasks-markdown.ts';

/** Another implementation's numbers, with the conditions that they were measured under. */
export interface Reference {
  readonly implementation: string;
  /** Its conditions, in words. */
  readonly conditions: string;
  /** What differs in ours. */
  readonly differences: string;
  /** Perplexity of the float model. */
  readonly float: number;
  readonly results: readonly {
    readonly title: string;
    readonly width: Width;
    readonly perplexity: number;
    /** The row that does the same; none where nothing does. */
    readonly row?: string;
  }[];
}

type Limits = Pick<Selection, 'windows' | 'limit'>;

/**
 * The document. Models, groups of rows and columns without a measurement are left out.
 *
 * @param records the oldest first
 * @param references by the name that the config gives
 */
export function resultsMarkdown(
  config: Config,
  records: readonly ResultRecord[],
  references: ReadonlyMap<string, Reference> = new Map(),
  selection: Limits = {},
): string {
  const found = newestRecords(records);
  const sections = config.models.flatMap((entry) => modelSection(entry, found, references, selection));
  return `${[INTRODUCTION, ...sections].join('\n\n')}\n`;
}

const INTRODUCTION = `# Results

Written by \`pnpm bench results\`; do not edit.

- **perplexity**: of a token, over windows that do not overlap, each a text of its own; the first token of a window is not scored. Lower is better.
- **float**: perplexity of the float model on the same windows _behind the same prefix_ as the quantized one: a few tokens before a text change what a model says of it, for better or worse. **to float** compares with that, and so says what quantization costs; **to plain float** compares with the float model without a prefix. ± is a standard error, paired over windows.
- **windows**: additions and rows far from float have the first few of a text only. Perplexities compare between rows with as many windows, **to float** between all, within its error.
- **KL**: mean Kullback-Leibler divergence of the quantized model's next-token distribution from the float one's, in nats. **equal**: share of positions with the same likeliest token.
- **time** and **memory**: of \`mobilequant quantize\` in a process of its own: wall time, and resident memory at its peak (GB of 10⁹ bytes).

**form**: _integer_ is the exported model, run by ONNX Runtime; _simulated_ is its arithmetic in float.
\`w8a8\` and \`w4a8\` are the recipes for devices, with 16 bits at sites where a device has them anyway; \`*-strict\` have the paper's 8 bits there; \`paper-*\` are the paper's own recipes. Under W4A8, \`paper-w4a8-sym\` is shown: symmetric per output channel, as a device wants it.`;

function modelSection(
  entry: ModelEntry,
  records: NewestRecords,
  references: ReadonlyMap<string, Reference>,
  selection: Limits,
): string[] {
  const texts = textsOf(entry, selection);
  const quantized = rowsOf(entry).flatMap((row) =>
    WIDTHS.flatMap((width) => records.quantization(askedOf(entry, row, width)) ?? []),
  );
  const measured = texts.flatMap((text) => records.measurement({ model: entry.name, text, form: 'float' }) ?? []);
  const onTasks = taskRecordsOf(entry, records, selection);
  const all = [...quantized, ...onTasks, ...measured];
  if (all.length === 0) return [];
  const tables = WIDTHS.flatMap((width) =>
    entry.texts.flatMap((_, index) => widthTable(entry, records, selection, { width, index })),
  );
  const reference = references.get(entry.reference ?? '');
  return [
    `## ${entry.name}`,
    conditions(entry, texts, records, all),
    ...tables,
    ...tasksSection(entry, records, selection),
    ...integerTable(entry, records, selection),
    ...stepsTable(entry, records),
    ...(reference ? referenceTable(entry, texts[0] as TextEntry, records, reference) : []),
  ];
}

/** How it was measured, in words. */
function conditions(
  { remarks, calibration, name }: ModelEntry,
  texts: readonly TextEntry[],
  records: NewestRecords,
  all: readonly ResultRecord[],
): string {
  const options = Object.entries(calibration.options ?? {}).map(([option, value]) => `${option} ${value}`);
  const from = calibration.learn ? `\`${sourceName(calibration.learn)}\`` : 'windows of it at random places';
  const many = calibration.options?.['learn-samples'] ?? 'as many, in tuning one for each step';
  const learned = `; learned from ${from} (${many})`;
  const more = options.length > 0 ? ` (${options.join(', ')})` : '';
  const but =
    calibration.samples === SAMPLES_OF_FAST
      ? ''
      : ` but single additions and those of \`fast\`, which have ${SAMPLES_OF_FAST} as it does by itself`;
  const floats = texts.flatMap((text) => {
    const result = records.measurement({ model: name, text, form: 'float' })?.result;
    if (!result) return [];
    const part = text.every ? `, every ${ordinal(text.every)} document` : '';
    const perplexity = formatNumber(result.perplexity);
    return `- **${text.name}** (\`${sourceName(text.data)}\`${part}): ${result.windows} windows of ${text.tokens} tokens, ${result.tokens} scored. Float, without a prefix: ${perplexity}.`;
  });
  const once = (values: readonly string[]) => [...new Set(values)].toSorted().join(', ');
  const { made } = all.at(-1) as ResultRecord;
  const loads = all.map((record) => record.made.load);
  const span = `${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}`;
  const threads = once(all.map((record) => `${record.made.threads}`));
  const commits = once(all.map((record) => record.made.commit));
  return [
    ...(remarks ? [remarks] : []),
    `Calibrated on ${calibration.samples} × ${calibration.tokens} tokens of \`${sourceName(calibration.data)}\`${learned}${more}, the same for every row${but}.`,
    floats.join('\n'),
    `Made at ${commits} on ${made.machine}, Node ${made.node}, ONNX Runtime ${made.onnxruntime}, threads: ${threads}. The machine's load when a measurement began: ${span}.`,
  ]
    .filter((part) => part !== '')
    .join('\n\n');
}

/** A source without the folder that it lies in on the machine at hand. */
const sourceName = (source: string): string => source.replace(/^\$\w+\//, '');

const ordinal = (n: number): string =>
  `${n}${n % 10 === 2 && n !== 12 ? 'nd' : n % 10 === 3 && n !== 13 ? 'rd' : 'th'}`;

/**
 * All rows of one half on one text; with what they cost beside the first. A group of which nothing was measured is left out; in others every
 * row stands, so that what an addition changes is seen even where the row before it is missing.
 */
function widthTable(
  entry: ModelEntry,
  records: NewestRecords,
  selection: Limits,
  { width, index }: { readonly width: Width; readonly index: number },
): string[] {
  const own = new Set(rowsOf(entry));
  const costs = index === 0;
  const columns = ['recipe', 'form', ...LOSS, ...(costs ? ['time', 'memory'] : [])];
  const rows = ROW_GROUPS.flatMap(({ title, rows }) => {
    const shown = rows.flatMap((row) => {
      const text = textsOf(entry, selection, row)[index];
      if (!text || !own.has(row)) return [];
      const quantization = askedOf(entry, row, width);
      const [form] = formsOf(entry, row);
      const found = records.measurement({ model: entry.name, quantization, text, form });
      const plain = records.measurement({ model: entry.name, text, form: 'float' });
      const cost = costs ? costCells(records.quantization(quantization)) : [];
      const loss = found && [form, ...lossCells(found, plain), ...cost];
      const missing = columns.slice(1).map((_, i) => (i === 0 ? 'not measured' : undefined));
      return [{ name: row.title, cells: [quantization.recipe, ...(loss ?? missing)], isMeasured: found !== undefined }];
    });
    return shown.some(({ isMeasured }) => isMeasured)
      ? [{ name: `**${title}**`, cells: columns.map(() => '') }, ...shown]
      : [];
  });
  return rows.length > 0 ? [`### ${width}, ${entry.texts[index]?.name}`, markdownTable({ columns, rows })] : [];
}

const LOSS = ['windows', 'perplexity', 'float', 'to float', 'to plain float', 'KL', 'equal'];

function lossCells(
  { result }: MeasurementRecord,
  plain: MeasurementRecord | undefined,
): Table['rows'][number]['cells'] {
  const { windows, perplexity, float, logRatio, standardError, divergence, agreement } = result;
  return [
    windows,
    perplexity,
    float,
    logRatio === undefined ? undefined : percent(logRatio, standardError),
    plain && percentOf(ratioTo(plain.result, result)),
    divergence,
    agreement === undefined ? undefined : `${(100 * agreement).toFixed(1)} %`,
  ];
}

/** Of a result to another one on the same windows. */
const ratioTo = (other: MeasurementResult, result: MeasurementResult): LogRatio =>
  pairedLogRatio(scoresOf(other), scoresOf(result));

/** What windows score; of all, or of the first ones. */
const scoresOf = ({ losses, tokens }: MeasurementResult, windows = losses.length) =>
  losses.slice(0, windows).map((negativeLogLikelihood) => ({ tokens: tokens / losses.length, negativeLogLikelihood }));

const percentOf = ({ mean, standardError }: LogRatio): string => percent(mean, standardError);

const costCells = (record: QuantizationRecord | undefined) =>
  record ? [duration(record.result.seconds), gigabytes(record.result.peak)] : [undefined, undefined];

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/**
 * A logarithm of a ratio, and its error, in per cent over one.
 *
 * @example
 * percent(Math.log(1.05), 0.01); // => '+5.00 ± 1.05 %'
 */
export function percent(logRatio: number, standardError?: number): string {
  const ratio = Math.exp(logRatio);
  const over = 100 * (ratio - 1);
  const digits = Math.abs(over) < 10 ? 2 : Math.abs(over) < 100 ? 1 : 0;
  const error = standardError === undefined ? '' : ` ± ${(100 * ratio * standardError).toFixed(digits)}`;
  return `${over < 0 ? '−' : '+'}${Math.abs(over).toFixed(digits)}${error} %`;
}

/** The rows that were measured in integers, beside their simulated form on the windows that both have. */
function integerTable(entry: ModelEntry, records: NewestRecords, selection: Limits): string[] {
  const rows = rowsOf(entry)
    .filter((row) => formsOf(entry, row).length > 1)
    .flatMap((row) =>
      WIDTHS.flatMap((width) =>
        entry.texts.flatMap((text, index) => {
          const quantization = askedOf(entry, row, width);
          const [integer, simulated] = (['integer', 'simulated'] as const).map((form) => {
            const text = textsOf(entry, selection, row, form)[index] as TextEntry;
            return records.measurement({ model: entry.name, quantization, text, form })?.result;
          });
          if (!integer || !simulated) return [];
          const { windows } = simulated;
          const [a, b] = [scoresOf(simulated), scoresOf(integer, windows)];
          return {
            name: `${row.title}, ${text.name}`,
            cells: [quantization.recipe, windows, perplexityOf(a), perplexityOf(b), percentOf(pairedLogRatio(a, b))],
          };
        }),
      ),
    );
  const columns = ['recipe', 'windows', 'simulated', 'integer', 'integer to simulated'];
  return rows.length > 0 ? ['### Integer and simulated', markdownTable({ columns, rows })] : [];
}

const perplexityOf = (scores: readonly WindowScore[]): number =>
  Math.exp(
    scores.reduce((sum, { negativeLogLikelihood }) => sum + negativeLogLikelihood, 0) /
      scores.reduce((sum, { tokens }) => sum + tokens, 0),
  );

/** What each step of a preset took. */
function stepsTable(entry: ModelEntry, records: NewestRecords): string[] {
  const presets = rowsOf(entry).filter(({ options }) => !options);
  const made = presets.flatMap((row) =>
    WIDTHS.flatMap((width) => {
      const result = records.quantization(askedOf(entry, row, width))?.result;
      return result?.steps ? { row, width, result, steps: result.steps } : [];
    }),
  );
  if (made.length === 0) return [];
  const steps = [...new Set(made.flatMap((one) => Object.keys(one.steps)))];
  const table: Table = {
    columns: ['recipe', ...steps, 'in all', 'memory', 'tokens of the prefix'],
    rows: made.map(({ row, width, result, steps: own }) => ({
      name: row.title,
      cells: [
        row.recipes[width],
        ...steps.map((step) => (own[step] === undefined ? undefined : duration(own[step]))),
        duration(result.seconds),
        gigabytes(result.peak),
        result.prefix.join(', ') || 'none',
      ],
    })),
  };
  return ['### Time of each step', markdownTable(table)];
}

/** Another implementation's numbers beside ours. */
function referenceTable(
  entry: ModelEntry,
  text: TextEntry,
  records: NewestRecords,
  { implementation, conditions: theirs, differences, float, results }: Reference,
): string[] {
  const ours = (name: string, width: Width): MeasurementRecord | undefined => {
    const row = rowsOf(entry).find((candidate: Row) => candidate.name === name);
    const quantization = row && askedOf(entry, row, width);
    return quantization && records.measurement({ model: entry.name, quantization, text, form: formsOf(entry, row)[0] });
  };
  const rows = results.map(({ title, width, perplexity, row }) => {
    const own = row === undefined ? undefined : ours(row, width);
    const ratio = own?.result.logRatio;
    return {
      name: title,
      cells: [
        width,
        perplexity,
        percent(Math.log(perplexity / float)),
        own?.result.perplexity,
        ratio === undefined ? undefined : percent(ratio, own?.result.standardError),
      ],
    };
  });
  const columns = ['', `${implementation}`, 'to its float', 'this one', 'to its float'];
  const float_ = {
    name: 'float',
    cells: ['', float, '', records.measurement({ model: entry.name, text, form: 'float' })?.result.perplexity, ''],
  };
  return [
    `### Beside ${implementation}`,
    `${theirs}\n\n${differences}`,
    markdownTable({ columns, rows: [float_, ...rows] }),
  ];
}
