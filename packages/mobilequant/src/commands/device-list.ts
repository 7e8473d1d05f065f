/** `mobilequant device list`: which phones are connected, and what is in them. */
import { connectPhone, listDevices } from '@mobilequant/device/node';
import { alignedTable } from '@mobilequant/evaluator';
import { type Command, command } from '../command.ts';
import { flag } from '../options.ts';

export const deviceList: Command = command({
  name: 'device list',
  summary: 'list the phones that adb knows',
  positionals: [],
  options: { json: flag('print the result as one JSON object') },
  async run({ json }, _, { print, signal }) {
    const phones: { serial: string; state: string; model?: string; soc?: string }[] = [];
    for (const { serial, state } of await listDevices({ signal })) {
      if (state !== 'device') {
        phones.push({ serial, state });
        continue;
      }
      const { shell } = await connectPhone({ serial, signal });
      const property = async (name: string): Promise<string> => (await shell(`getprop ${name}`)).trim();
      const [model, soc] = [await property('ro.product.model'), await property('ro.soc.model')];
      phones.push({ serial, state, model, soc });
    }
    if (json) return print(JSON.stringify({ phones }));
    if (phones.length === 0) return print('No phone. Connect one and allow debugging in its developer options.');
    const rows = phones.map(({ serial, state, model, soc }) => ({ name: serial, cells: [state, model, soc] }));
    print(alignedTable({ corner: 'serial', columns: ['state', 'model', 'chip'], rows }));
  },
});
