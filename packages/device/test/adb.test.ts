import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { connectPhone, listDevices, remoteQuote } from '../src/node.ts';
import { fakePhone, scratch } from './fakes.ts';

test('phones, ready or not', async () => {
  const phone = fakePhone(scratch());
  phone.answerDevices(
    '* daemon not running; starting now at tcp:5037\n* daemon started successfully\nList of devices attached\n' +
      'R5CT\tdevice\n192.168.1.7:5555\toffline\nX1\tno permissions (missing udev rules)\n\n',
  );
  expect(await listDevices(phone)).toEqual([
    { serial: 'R5CT', state: 'device' },
    { serial: '192.168.1.7:5555', state: 'offline' },
    { serial: 'X1', state: 'no permissions (missing udev rules)' },
  ]);
});

test('the only phone is taken; of two, one must be named', async () => {
  const phone = fakePhone(scratch());
  expect((await connectPhone(phone)).serial).toBe('R5CT');
  phone.answerDevices('List of devices attached\nR5CT\tdevice\nR6\tdevice\n');
  await expect(connectPhone(phone)).rejects.toThrowErrorMatchingInlineSnapshot(
    `[DeviceError: adb: expected one phone, got R5CT (device), R6 (device). Name one by its serial number.]`,
  );
  const second = await connectPhone({ ...phone, serial: 'R6' });
  await second.shell('true');
  expect(phone.calls().at(-1)).toEqual(['-s', 'R6', 'shell', 'true']);
  await expect(connectPhone({ ...phone, serial: 'R7' })).rejects.toThrow('expected the phone R7, got R5CT (device)');
});

test('without a phone, and with one that does not trust this computer', async () => {
  const phone = fakePhone(scratch());
  phone.answerDevices('List of devices attached\n\n');
  await expect(connectPhone(phone)).rejects.toThrow('expected a phone, got none. Connect it');
  phone.answerDevices('List of devices attached\nR5CT\tunauthorized\n');
  await expect(connectPhone(phone)).rejects.toThrow('got unauthorized. Allow this computer on its screen');
});

test('adb is found on the PATH', async () => {
  const { adb } = fakePhone(scratch());
  const env = { PATH: `${dirname(adb)}:${process.env['PATH']}` };
  expect(await (await connectPhone({ env })).shell('echo there')).toBe('there\n');
});

test('files go there and back, whatever is in their names', async () => {
  const folder = scratch();
  const phone = fakePhone(folder);
  const adb = await connectPhone(phone);
  const local = join(folder, "it's a $file; `x`.bin");
  const remote = join(folder, 'remote $HOME.bin');
  writeFileSync(local, 'bytes');
  await adb.push(local, remote);
  await adb.pull(remote, join(folder, 'back/again.bin'));
  expect(readFileSync(join(folder, 'back/again.bin'), 'utf8')).toBe('bytes');
  expect(readdirSync(join(folder, 'back'))).toEqual(['again.bin']);
  expect(phone.calls().at(-2)).toEqual(['-s', 'R5CT', 'push', local, remote]);
  await expect(adb.push(local, 'relative')).rejects.toThrow("expected an absolute path on the phone, got 'relative'");
});

test("words are quoted for the phone's shell", async () => {
  const adb = await connectPhone(fakePhone(scratch()));
  const words = ['a b', "it's", '$HOME', '`id`', '"', '\\', '*', '', '-n', ';exit 3', 'ä\n'];
  const printed = await adb.shell(`printf '%s|' ${words.map(remoteQuote).join(' ')}`);
  expect(printed).toBe(words.map((word) => `${word}|`).join(''));
});

test('what fails on the phone fails here', async () => {
  const folder = scratch();
  const phone = fakePhone(folder);
  const adb = await connectPhone(phone);
  await expect(adb.shell('echo no such graph >&2; exit 7')).rejects.toThrowErrorMatchingInlineSnapshot(`
    [DeviceError: adb shell: expected to succeed, got exit code 7. It said:
    no such graph]
  `);
  phone.fail('pull');
  await expect(adb.pull('/data/x', join(folder, 'x'))).rejects.toThrow(
    'adb pull: expected to succeed, got exit code 1. It said:\nerror: closed',
  );
  expect(existsSync(join(folder, 'x'))).toBe(false);
});

test('adb that is not there', async () => {
  await expect(connectPhone({ env: { PATH: '' } })).rejects.toThrow("Install Android's platform-tools");
  await expect(listDevices({ adb: '/nowhere/adb' })).rejects.toThrow(
    '/nowhere/adb: expected a program that can be run, got no such file',
  );
});
