/** Calls of a server that speaks JSON. */
import { TaskError } from '@mobilequant/evaluator';

/**
 * Sends JSON and gives what comes back.
 *
 * @throws TaskError for a server that is not there or refuses.
 */
export async function postJson(url: string, body: unknown): Promise<unknown> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) }).catch((cause) => {
    throw new TaskError(url, 'a server', String(cause.cause ?? cause), 'Check the address.', { cause });
  });
  const text = await response.text();
  if (!response.ok) {
    const received = `${response.status} ${text.slice(0, 200)}`;
    throw new TaskError(url, 'an answer', received, 'Check the address and the name of the model.');
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TaskError(url, 'JSON', text.slice(0, 40), 'Check the address.', { cause });
  }
}
