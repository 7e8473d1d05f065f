/**
 * A server of completions as a scorer: whatever serves OpenAI's `/completions` with `echo` and `logprobs` can be measured on the same
 * items, however it was quantized. It is sent token ids, so that its tokenizer has no say, and asked for one token more, which is not
 * looked at, since some servers give no log-probabilities without.
 */
import { type Reading, readingOf, type Score, type Scorer } from './score.ts';
import { TaskError } from './task-error.ts';

/** Sends JSON to an address and gives the JSON that comes back. Throws for everything but success. */
export type PostJson = (url: string, body: unknown) => Promise<unknown>;

export interface CompletionsOptions {
  /** Up to `/completions`, as in `http://127.0.0.1:8000/v1`. */
  readonly url: string;
  /** What the server calls the model. */
  readonly model: string;
  /** Tokens that it takes at once, the one that it is asked for among them; at least 3. */
  readonly length: number;
  /** Texts of one call. Default 8. */
  readonly batch?: number;
  readonly post: PostJson;
}

/**
 * A server as a scorer.
 *
 * @throws RangeError for a length below 3 or a batch below 1; its functions a TaskError for answers without log-probabilities of the prompt's tokens.
 */
export function completionsScorer({ url, model, length, batch = 8, post }: CompletionsOptions): Scorer {
  if (!(length >= 3)) throw new RangeError(`completionsScorer, length: expected 3 or more, got ${length}.`);
  if (!(batch >= 1)) throw new RangeError(`completionsScorer, batch: expected 1 or more, got ${batch}.`);
  const read = length - 2; // the last token of a text is sent too, and one more comes back
  const address = `${url.replace(/\/+$/, '')}/completions`;
  const scoresOf = async (readings: readonly Reading[]): Promise<Score[]> => {
    const scores: Score[] = [];
    for (let from = 0; from < readings.length; from += batch) {
      const part = readings.slice(from, from + batch);
      const prompt = part.map(({ input, targets }) => [...input, targets.at(-1) as number]);
      const body = { model, prompt, max_tokens: 1, temperature: 0, echo: true, logprobs: 1 };
      const choices = choicesIn(await post(address, body), part.length, address);
      scores.push(...part.map((reading, i) => scoreIn(choices[i], reading, address)));
    }
    return scores;
  };
  const readings = (requests: Parameters<Scorer['windows']>[0]) => requests.map((request) => readingOf(request, read));
  return {
    length: read,
    async score(items) {
      const scores = await scoresOf(items.flatMap(readings));
      let next = 0;
      return items.map(({ length: count }) => scores.slice(next, (next += count)));
    },
    windows: async (requests) => (await scoresOf(readings(requests))).map(({ logLikelihood }) => logLikelihood),
  };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;

/** The choices of an answer in the order of the prompts. */
function choicesIn(answer: unknown, count: number, address: string): readonly unknown[] {
  const choices: unknown = isObject(answer) ? answer.choices : undefined;
  if (Array.isArray(choices) && choices.length === count) {
    const ordered = new Array<unknown>(count);
    for (const choice of choices as readonly unknown[]) {
      const index = isObject(choice) ? choice.index : undefined;
      if (typeof index === 'number' && index in choices) ordered[index] = choice;
    }
    return ordered;
  }
  const received = Array.isArray(choices) ? String(choices.length) : 'none';
  throw new TaskError(address, `${count} choices`, received, 'Give the address of an OpenAI-compatible server.');
}

function scoreIn(choice: unknown, { input, targets }: Reading, address: string): Score {
  const logprobs = isObject(choice) ? choice.logprobs : undefined;
  const { token_logprobs: own, top_logprobs: top } = isObject(logprobs) ? logprobs : {};
  const [from, to] = [input.length + 1 - targets.length, input.length + 1];
  const chosen: unknown[] = Array.isArray(own) ? own.slice(from, to) : [];
  const highest = Array.isArray(top) ? top.slice(from, to).map(highestOf) : [];
  if (chosen.length !== targets.length || !chosen.every((value) => typeof value === 'number')) {
    const expected = `log-probabilities of ${to} tokens`;
    const received = Array.isArray(own) ? `${own.length}` : 'none';
    throw new TaskError(address, expected, received, 'The server must know echo and logprobs.');
  }
  return {
    logLikelihood: chosen.reduce((sum, value) => sum + value, 0),
    greedy: chosen.every((value, i) => value === highest[i]),
  };
}

/** The largest of the log-probabilities that were given for a place. */
const highestOf = (place: unknown): number =>
  isObject(place) ? Math.max(...Object.values(place).filter((value) => typeof value === 'number')) : Number.NaN;
