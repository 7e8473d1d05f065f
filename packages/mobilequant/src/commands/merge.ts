/** `mobilequant merge`: what shards come to together, of an evaluation or of an observation. */
import { joinObservations } from '@mobilequant/calibration';
import { writeFileAtomic } from '@mobilequant/checkpoint/node';
import { mergeRecords, parseRecords, type RunRecords, recordLine, resultOf } from '@mobilequant/evaluator';
import { type Command, command, pathFrom } from '../command.ts';
import { readText } from '../file-error.ts';
import { isObservation, parseObservation, writeObservation } from '../observation-file.ts';
import { flag, text, UsageError } from '../options.ts';
import { describeResult } from './task-measurements.ts';

const options = {
  out: text('FILE', 'write the whole there: the records of the run, or the observation', undefined),
  json: flag('print the result as one JSON object'),
};

const notes = `FILE is what evaluate --records or observe wrote; give those of all shards. The result is that of the whole run in one piece, to the last digit; only how long it took differs.`;

export const merge: Command = command({
  name: 'merge',
  summary: 'put the shards of an evaluation, or of an observation, together',
  positionals: ['FILE…'],
  options,
  notes,
  async run({ out, json }, files, surroundings) {
    const contents = new Map<string, string>();
    for (const file of files) contents.set(file, await readText(pathFrom(surroundings, file)));
    if ([...contents.values()].some(isObservation)) {
      if (out === undefined) throw new UsageError('--out: expected FILE, got nothing. Observations are put into one.');
      const observed = [...contents].map(([file, content]) => [file, parseObservation(content, file)] as const);
      const { parts, count, ...whole } = joinObservations(new Map(observed));
      await writeObservation(pathFrom(surroundings, out), { parts, count, ...whole });
      surroundings.print(
        json ? JSON.stringify({ file: out, parts, count }) : `${out}: ${parts.length} of ${count} parts`,
      );
      return;
    }
    const parts = new Map<string, RunRecords>();
    for (const [file, content] of contents) parts.set(file, parseRecords(content, file));
    const merged = mergeRecords(parts);
    const result = resultOf(merged);
    if (out !== undefined)
      await writeFileAtomic(pathFrom(surroundings, out), [merged.header, ...merged.records].map(recordLine).join(''));
    surroundings.print(json ? JSON.stringify(result) : describeResult(result));
  },
});
