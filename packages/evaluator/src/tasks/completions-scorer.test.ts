import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { completionsScorer } from './completions-scorer.ts';
import type { Request } from './encode-pair.ts';

interface Body {
  prompt: number[][];
  echo: boolean;
  logprobs: number;
  max_tokens: number;
  model: string;
}

/** log p of a token behind another: the likeliest is one more. */
const logprob = (before: number, token: number): number => -0.5 - 0.25 * Math.abs(token - before - 1);

const bodies: Body[] = [];
let broken = false;
let server: Server;
let url = '';

async function read(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const part of request) text += String(part);
  return text;
}

/** What vLLM and others answer: the prompt's tokens and one more, the choices in any order. */
function answer({ prompt }: Body): unknown {
  const choices = prompt.map((tokens, index) => {
    const all = [...tokens, 0];
    const own = all.map((token, i) => (i === 0 ? null : logprob(all[i - 1] as number, token)));
    const top = all.map((_, i) => (i === 0 ? null : { likeliest: logprob(0, 1), other: own[i] }));
    return { index, text: '', logprobs: { token_logprobs: own, top_logprobs: top } };
  });
  return { choices: broken ? choices.map(({ index, text }) => ({ index, text })) : choices.reverse() };
}

beforeAll(async () => {
  server = createServer((request, response) => {
    void read(request).then((text) => {
      const found = request.url === '/v1/completions';
      if (found) bodies.push(JSON.parse(text) as Body);
      response.writeHead(found ? 200 : 404).end(found ? JSON.stringify(answer(JSON.parse(text) as Body)) : '');
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/`;
});
afterAll(() => server.close());
beforeEach(() => {
  bodies.length = 0;
  broken = false;
});

const post = async (address: string, body: unknown): Promise<unknown> => {
  const response = await fetch(address, { method: 'POST', body: JSON.stringify(body) });
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
};
const scorer = (length = 16) => completionsScorer({ url, model: 'served', length, batch: 2, post });
const request = (context: number[], continuation: number[]): Request => ({
  context: Int32Array.from(context),
  continuation: Int32Array.from(continuation),
});

describe('completionsScorer', () => {
  test('asks for the log-probabilities of the prompt, and sums those of the continuation', async () => {
    const scores = await scorer().score([[request([1, 2], [3, 4]), request([1, 2], [3, 7])], [request([5], [4])]]);
    expect(scores).toEqual([
      [
        { logLikelihood: -1, greedy: true },
        { logLikelihood: -0.5 + logprob(3, 7), greedy: false },
      ],
      [{ logLikelihood: logprob(5, 4), greedy: false }],
    ]);
    expect(bodies.map(({ prompt }) => prompt)).toEqual([
      [
        [1, 2, 3, 4],
        [1, 2, 3, 7],
      ],
      [[5, 4]],
    ]);
    expect(bodies[0]).toMatchObject({ model: 'served', echo: true, logprobs: 1, max_tokens: 1 });
  });

  test('texts are cut to what the server takes', async () => {
    expect(await scorer(5).windows([request([9, 9, 1, 2], [3, 4])])).toEqual([-1]);
    expect(bodies[0]?.prompt).toEqual([[1, 2, 3, 4]]); // and one more comes back
    expect(() => scorer(2)).toThrow('completionsScorer, length: expected 3 or more, got 2.');
    expect(() => completionsScorer({ url, model: 'served', length: 16, batch: 0, post })).toThrow(
      'completionsScorer, batch: expected 1 or more, got 0.',
    );
  });

  test('an answer without log-probabilities is an error', async () => {
    broken = true;
    await expect(scorer().windows([request([1], [2])])).rejects.toThrowError(
      'expected log-probabilities of 2 tokens, got none. The server must know echo and logprobs.',
    );
  });
});
