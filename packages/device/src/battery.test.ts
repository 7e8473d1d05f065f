import { expect, test } from 'vitest';
import { batteryPower, parseBattery } from './battery.ts';

const sample = (current: number, status = 'Discharging') => ({ status, current, volts: 4 });

test('the sign of the current does not matter', () => {
  const power = batteryPower([sample(-0.25), sample(-0.35)], [sample(1), sample(-2)]);
  expect(power).toEqual({ kind: 'known', idle: expect.closeTo(1.2, 12), running: 6, samples: 2 });
});

test('a cable makes the battery say nothing', () => {
  expect(batteryPower([sample(0.2, 'Charging')], [sample(1)])).toEqual({
    kind: 'unknown',
    reason: 'the battery is not discharging (Charging): connect over Wi-Fi, without a cable',
  });
  expect(batteryPower([sample(1)], [])).toMatchObject({ kind: 'unknown' });
});

test('what is not a battery is nothing', () => {
  for (const output of [
    '',
    'cat: /sys: Permission denied',
    'Full\n12\n',
    'Full\nabc\n4000000',
    'Full\n1\n-4',
    'a\u001b[31m\n1\n4',
  ])
    expect(parseBattery(output)).toBeUndefined();
  expect(parseBattery('Not charging\r\n0\r\n3900000\r\n')).toEqual({ status: 'Not charging', current: 0, volts: 3.9 });
});
