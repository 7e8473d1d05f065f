/** `mobilequant merge`: what the shards of an evaluation come to together. */
import { readFile } from 'node:fs/promises';
import { writeFileAtomic } from '@mobilequant/checkpoint/node';
import { mergeRecords, parseRecords, type RunRecords, recordLine, resultOf } from '@mobilequant/evaluator';
import { type Command, command, pathFrom } from '../command.ts';
import { flag, text } from '../options.ts';
import { describeResult } from './task-measurements.ts';

const options = {
  out: text('FILE', 'write the records of the whole run there', undefined),
  json: flag('print the result as one JSON object'),
};

const notes = `FILE is what evaluate --records wrote; give those of all shards. The result is that of the whole run in one piece, to the last digit; only how long it took differs.`;

export const merge: Command = command({
  name: 'merge',
  summary: 'put the shards of an evaluation together',
  positionals: ['FILE…'],
  options,
  notes,
  async run({ out, json }, files, surroundings) {
    const parts = new Map<string, RunRecords>();
    for (const file of files) {
      const content = await readFile(pathFrom(surroundings, file), 'utf8');
      parts.set(file, parseRecords(content, file));
    }
    const merged = mergeRecords(parts);
    const result = resultOf(merged);
    if (out !== undefined)
      await writeFileAtomic(pathFrom(surroundings, out), [merged.header, ...merged.records].map(recordLine).join(''));
    surroundings.print(json ? JSON.stringify(result) : describeResult(result));
  },
});
