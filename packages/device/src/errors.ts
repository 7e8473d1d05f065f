/** What a tool, a phone, or a file of theirs did not do as expected. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';

  constructor(where: string, expected: string, received: string, advice: string, options?: ErrorOptions) {
    super(`${where}: expected ${expected}, got ${received}. ${advice}`, options);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is removed
const CONTROL = /\u001b\[[0-9;]*[A-Za-z]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Text of a tool or a phone without what would steer a terminal. Tabs and line ends stay. */
export const printable = (text: string): string => text.replace(CONTROL, '');
