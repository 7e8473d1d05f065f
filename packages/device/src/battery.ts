/** What a phone's battery gives while a model runs, from its counters. */

/** One look at the counters. */
export interface BatterySample {
  /** As the kernel says: Discharging, Charging, Full, … */
  readonly status: string;
  /** Amperes; the sign differs between phones. */
  readonly current: number;
  readonly volts: number;
}

const FOLDER = '/sys/class/power_supply/battery';

/** A command for a phone's shell that prints the counters, one a line. */
export const BATTERY_COMMAND: string = ['status', 'current_now', 'voltage_now']
  .map((counter) => `cat ${FOLDER}/${counter}`)
  .join(' && ');

/**
 * Reads what the command printed, in the kernel's units (micro); nothing if a phone shows its counters to nobody.
 *
 * @example
 * parseBattery('Discharging\n-250000\n4000000\n'); // => { status: 'Discharging', current: -0.25, volts: 4 }
 */
export function parseBattery(output: string): BatterySample | undefined {
  const [status = '', current = '', volts = ''] = output.split('\n').map((line) => line.trim());
  if (!/^[A-Za-z ]{1,32}$/.test(status) || !/^-?\d{1,12}$/.test(current) || !/^\d{1,12}$/.test(volts)) return undefined;
  return { status, current: Number(current) * 1e-6, volts: Number(volts) * 1e-6 };
}

/** Mean power before and during a run, in watts, or why it is not known. */
export type BatteryPower =
  | { readonly kind: 'known'; readonly idle: number; readonly running: number; readonly samples: number }
  | { readonly kind: 'unknown'; readonly reason: string };

/** A battery that is being charged says nothing of what the phone takes: the cable gives it. */
export function batteryPower(idle: readonly BatterySample[], running: readonly BatterySample[]): BatteryPower {
  const unknown = (reason: string): BatteryPower => ({ kind: 'unknown', reason });
  if (idle.length === 0 || running.length === 0)
    return unknown('the phone does not show its battery, or ran too shortly');
  const other = [...idle, ...running].find(({ status }) => status !== 'Discharging');
  if (other) return unknown(`the battery is not discharging (${other.status}): connect over Wi-Fi, without a cable`);
  return { kind: 'known', idle: meanPower(idle), running: meanPower(running), samples: running.length };
}

const meanPower = (samples: readonly BatterySample[]): number =>
  samples.reduce((sum, { current, volts }) => sum + Math.abs(current) * volts, 0) / samples.length;
