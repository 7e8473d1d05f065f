/** `mobilequant device emulate`: an exported directory on the emulator of the NPU, beside the processor. */
import { readTokenizer } from '@mobilequant/checkpoint/node';
import { findSoc } from '@mobilequant/device';
import { type Emulation, emulate } from '@mobilequant/device/node';
import { formatNumber, type LogRatio, pairedLogRatio, windowsOf } from '@mobilequant/evaluator';
import { type Command, command, pathFrom } from '../command.ts';
import { prefillTokens } from '../npu-inputs.ts';
import { flag, integer, text, UsageError } from '../options.ts';
import { allTokens, readTokens } from '../samples.ts';
import { deviceOptions, pythonOption } from './device-options.ts';

const options = {
  soc: deviceOptions.soc,
  data: text(
    'FILE',
    'text to read, or ids (FILE.safetensors:NAME), in windows of as many tokens as prefill takes',
    undefined,
  ),
  windows: integer('N', 'windows to read', 1, 4),
  prompt: text('TEXT', 'what to go on with, greedily', undefined),
  tokens: integer('N', 'tokens to go on with', 1, 16),
  python: pythonOption,
  json: flag('print the result as one JSON object'),
};

const notes = `Both run the graphs of DIR (export --target qnn-qdq) in integers: the emulator as Qualcomm's compiler has them, the processor as they are written.
Standard errors are over tokens; that of the ratio is paired. On an x86-64 computer with Linux a window takes half a minute, a token some seconds.`;

export const deviceEmulate: Command = command({
  name: 'device emulate',
  summary: 'run an exported directory on the emulator of the NPU',
  positionals: ['DIR'],
  options,
  notes,
  async run(values, [name], surroundings) {
    const { print, report, status, signal } = surroundings;
    if (values.data === undefined && values.prompt === undefined)
      throw new UsageError('expected --data FILE or --prompt TEXT, got neither. One must be given.');
    const soc = findSoc(values.soc);
    const directory = pathFrom(surroundings, name as string);
    const length = await prefillTokens(directory);
    const tokenizer = await readTokenizer(directory);
    const windows = values.data === undefined ? [] : await windowsIn(values.data);
    const prompt = values.prompt === undefined ? [] : tokenizer.encode(values.prompt);
    if (prompt.length > length)
      throw new UsageError(`--prompt: expected at most ${length} tokens, which prefill takes, got ${prompt.length}.`);
    const made: number[] = [];
    const { read, said } = await emulate(directory, {
      soc,
      windows,
      prompt,
      tokens: values.tokens,
      signal,
      ...(values.python !== undefined && { python: values.python }),
      onProgress({ stage, done, total, token }) {
        if (done <= 1) made.length = 0;
        if (token !== undefined) made.push(token);
        status(`${stage}: ${done} of ${total}${made.length > 0 ? ` ${JSON.stringify(tokenizer.decode(made))}` : ''}`);
      },
    });
    const measured = read && measure(read);
    const texts = said && { processor: tokenizer.decode([...said.processor]), npu: tokenizer.decode([...said.npu]) };
    const equal = said && equalTokens(said);
    if (values.json) {
      const ofPrompt = said && { ...said, texts, equal };
      return print(JSON.stringify({ soc: soc.name, windows: windows.length, read: measured, said: ofPrompt }));
    }
    if (measured) print(describe(measured));
    if (!said || !texts) return;
    print(`processor: ${JSON.stringify(texts.processor)}\nNPU: ${JSON.stringify(texts.npu)}`);
    const apart = said.stepDifference.reduce((sum, x) => sum + x, 0) / said.stepDifference.length;
    const same = equal === said.npu.length ? 'all' : `the first ${equal} of`;
    print(`${same} ${said.npu.length} tokens are equal, mean difference of their logits ${formatNumber(apart)}`);

    async function windowsIn(file: string): Promise<Int32Array[]> {
      const source = await readTokens([pathFrom(surroundings, file)], async () => tokenizer);
      const found = windowsOf(allTokens(source), { tokens: length, windows: values.windows });
      if (found.length < values.windows)
        report(
          `The text has ${found.length} windows of ${length} tokens, ${values.windows - found.length} fewer than asked for.`,
        );
      return found;
    }
  },
});

type Read = NonNullable<Emulation['read']>;

/** The losses as perplexities, with standard errors over tokens. */
function measure({ processor, npu, ...differences }: Read) {
  const scores = (losses: readonly (readonly number[])[]) =>
    losses.flat().map((loss) => ({ tokens: 1, negativeLogLikelihood: loss }));
  const [ours, theirs] = [scores(processor), scores(npu)];
  const nothing = ours.map(() => ({ tokens: 1, negativeLogLikelihood: 0 }));
  const perplexity = ({ mean, standardError }: LogRatio) => ({
    perplexity: Math.exp(mean),
    ...(standardError !== undefined && { standardError: Math.exp(mean) * standardError }),
  });
  const { mean, standardError } = pairedLogRatio(ours, theirs);
  return {
    tokens: ours.length,
    processor: perplexity(pairedLogRatio(nothing, ours)),
    npu: perplexity(pairedLogRatio(nothing, theirs)),
    ratio: Math.exp(mean),
    ...(standardError !== undefined && { standardError }),
    ...differences,
  };
}

function describe(measured: ReturnType<typeof measure>): string {
  const { tokens, processor, npu, ratio, standardError, meanDifference, largestDifference, equalTokens } = measured;
  const within = (error: number | undefined, digits: number): string =>
    error === undefined ? '' : ` ± ${error.toFixed(digits)}`;
  const perplexity = (of: typeof npu): string => `${formatNumber(of.perplexity)}${within(of.standardError, 2)}`;
  const change = `${(100 * (ratio - 1)).toFixed(2)}${within(standardError && 100 * standardError, 2)} %`;
  return [
    `processor: perplexity ${perplexity(processor)} over ${tokens} tokens`,
    `NPU: perplexity ${perplexity(npu)}, ${change} over the processor's`,
    `logits: mean difference ${formatNumber(meanDifference)}, largest ${formatNumber(largestDifference)}, ` +
      `${formatNumber(100 * equalTokens)} % equal likeliest tokens`,
  ].join('\n');
}

/** How many tokens are equal before the first that is another. */
function equalTokens({ processor, npu }: NonNullable<Emulation['said']>): number {
  const first = processor.findIndex((token, i) => token !== npu[i]);
  return first < 0 ? processor.length : first;
}
