/** How long computations show how far they are. */
import type { OnProgress } from '@mobilequant/calibration';
import type { DownloadProgress } from '@mobilequant/checkpoint/node';
import type { Surroundings } from './command.ts';

/** Writes progress as a status line. */
export const progressTo =
  ({ status }: Pick<Surroundings, 'status'>): OnProgress =>
  ({ stage, done, total, secondsLeft, loss }) => {
    const left = secondsLeft === undefined || done === total ? '' : `, ${duration(secondsLeft)} left`;
    status(`${stage}: ${done} of ${total}${loss === undefined ? '' : `, loss ${loss.toPrecision(4)}`}${left}`);
  };

/** Writes how far a download is as a status line. */
export const downloadTo =
  ({ status }: Pick<Surroundings, 'status'>): ((progress: DownloadProgress) => void) =>
  ({ file, received, total }) =>
    status(`download: ${size(received)} of ${size(total)}, ${file}`);

/**
 * Seconds in the unit that a person would use.
 *
 * @example
 * duration(5400); // => '1 h 30 min'
 */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * Bytes in the unit that a person would use.
 *
 * @example
 * size(3_300_000); // => '3.3 MB'
 */
export function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1000)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}
