import { expect, test } from 'vitest';
import {
  choice,
  choices,
  describeOptions,
  flag,
  integer,
  number,
  readArguments,
  someTexts,
  text,
  UsageError,
} from './options.ts';

const options = {
  out: text('DIR', 'where to'),
  file: someTexts('FILE…', 'what'),
  count: integer('N', 'how many', 1, 3),
  share: number('A', 'how much', [0, 1], 0.5),
  form: choice(['float', 'integer'], 'which', 'float'),
  methods: choices('NAME,…', ['a', 'b'], 'some', ['a', 'b']),
  resume: flag('go on'),
};
const read = (...args: string[]) => readArguments(args, options, ['MODEL']);
const needed = ['--out', 'o', '--file', 'f'];

test('options have types and defaults', () => {
  expect(read('m', ...needed)).toEqual({
    values: { out: 'o', file: ['f'], count: 3, share: 0.5, form: 'float', methods: ['a', 'b'], resume: false },
    positionals: ['m'],
  });
  const { values } = read(
    'm',
    ...needed,
    '--count=7',
    '--share',
    '0.25',
    '--form',
    'integer',
    '--methods',
    'b',
    '--resume',
  );
  expect(values).toMatchObject({ count: 7, share: 0.25, form: 'integer', methods: ['b'], resume: true });
});

test('values that follow an option of many are all its own, and it may be repeated', () => {
  expect(read('m', '--file', 'a', 'b', '--out', 'o', '--file', 'c').values.file).toEqual(['a', 'b', 'c']);
});

test.each([
  [['m', ...needed, '--count', '0'], "--count: expected a whole number of at least 1, got '0'."],
  [['m', ...needed, '--count', '0x2'], "--count: expected a whole number of at least 1, got '0x2'."],
  [['m', ...needed, '--share', '2'], "--share: expected a number from 0 to 1, got '2'."],
  [['m', ...needed, '--share', ''], "--share: expected a number from 0 to 1, got ''."],
  [['m', ...needed, '--form', 'int'], "--form: expected float, integer, got 'int'."],
  [['m', ...needed, '--methods', 'a,c'], "--methods: expected a, b, got 'c'."],
  [['m', ...needed, '--out', 'p'], '--out: expected one value, got 2.'],
  [['m', '--file', 'f'], '--out: expected DIR, got nothing. It must be given.'],
  [['--file', 'f', 'm', '--out', 'o'], 'expected MODEL before the options, got nothing.'],
  [['m', ...needed, '--resume=yes'], "Option '--resume' does not take an argument."],
])('%j is refused', (args, message) => {
  expect(() => read(...args)).toThrow(UsageError);
  expect(() => read(...args)).toThrow(message);
});

test('options are described one a line, with their defaults', () => {
  expect(describeOptions({ count: options.count, resume: options.resume })).toMatchInlineSnapshot(`
    "  --count N  how many (default 3)
      --resume   go on"
  `);
});
