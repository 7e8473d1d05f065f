/** The chips that graphs are compiled for: Qualcomm's numbers of each, as data. */
import { DeviceError } from './errors.ts';

/** A Snapdragon, as the SDK's configuration names it. */
export interface Soc {
  /** Part number, as a phone's property `ro.soc.model` has it. */
  readonly name: string;
  /** What phones are sold with. */
  readonly chip: string;
  /** The SDK's number of the part. */
  readonly socModel: number;
  /** Version of the Hexagon processor: 75 is v75. */
  readonly htpArch: number;
}

export const socs: readonly Soc[] = [
  { name: 'SM8750', chip: 'Snapdragon 8 Elite', socModel: 69, htpArch: 79 },
  { name: 'SM8650', chip: 'Snapdragon 8 Gen 3', socModel: 57, htpArch: 75 },
  { name: 'SM8550', chip: 'Snapdragon 8 Gen 2', socModel: 43, htpArch: 73 },
  { name: 'SM8450', chip: 'Snapdragon 8 Gen 1', socModel: 36, htpArch: 69 },
];

const normal = (name: string): string =>
  name
    .toLowerCase()
    .replace(/^snapdragon/, '')
    .replaceAll(/[\s_-]/g, '');

/**
 * The chip of a part number or of a name that phones are sold with; case and spaces do not count.
 *
 * @throws DeviceError for any other.
 * @example
 * findSoc('8 gen 3').name; // => 'SM8650'
 */
export function findSoc(name: string): Soc {
  const found = socs.find((soc) => [soc.name, soc.chip].some((known) => normal(known) === normal(name)));
  if (found) return found;
  throw new DeviceError(
    'chip',
    `one of ${socs.map((soc) => `${soc.name} (${soc.chip})`).join(', ')}`,
    `'${name}'`,
    'A phone says which it has by `adb shell getprop ro.soc.model`; for another, pass its numbers as a Soc.',
  );
}
