/** Records by what was asked; of those that answer the same question the newest. */
import {
  type Asked,
  type AskedTask,
  type AskedText,
  canonical,
  type MeasurementRecord,
  type QuantizationRecord,
  type ResultRecord,
  type TaskRecord,
} from './record.ts';

export interface NewestRecords {
  quantization(asked: Asked): QuantizationRecord | undefined;
  measurement(asked: AskedText): MeasurementRecord | undefined;
  task(asked: AskedTask): TaskRecord | undefined;
}

/** @param records the oldest first */
export function newestRecords(records: readonly ResultRecord[]): NewestRecords {
  const found = new Map(records.map((record) => [canonical([record.kind, record.asked]), record]));
  const newest = <R extends ResultRecord>(kind: R['kind'], asked: R['asked']) =>
    found.get(canonical([kind, asked])) as R | undefined;
  return {
    quantization: (asked) => newest<QuantizationRecord>('quantization', asked),
    measurement: (asked) => newest<MeasurementRecord>('measurement', asked),
    task: (asked) => newest<TaskRecord>('task', asked),
  };
}
