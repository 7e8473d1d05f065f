import { expect, test } from 'vitest';
import { alignedTable, formatNumber, markdownTable, type Table } from './table.ts';

const table: Table = {
  corner: 'method',
  columns: ['W8A8', 'size'],
  rows: [
    { name: 'float', cells: [30.3612, '513 MB'] },
    { name: 'min-max', cells: [1061.04, undefined] },
  ],
};

test('a table in Markdown', () => {
  expect(markdownTable(table)).toMatchInlineSnapshot(`
    "| method | W8A8 | size |
    | --- | ---: | ---: |
    | float | 30.36 | 513 MB |
    | min-max | 1061 | – |"
  `);
});

test('a table for a terminal', () => {
  expect(alignedTable(table)).toMatchInlineSnapshot(`
    "method    W8A8    size
    -------  -----  ------
    float    30.36  513 MB
    min-max   1061       –"
  `);
});

test('a bar in a cell does not divide it', () => {
  expect(markdownTable({ columns: ['KL(a|b)'], rows: [] })).toContain('KL(a\\|b)');
});

test('numbers have four digits', () => {
  expect([0, 3, 1.5, 0.012345, 123456.7, 1e-7, Infinity, NaN].map(formatNumber)).toEqual([
    '0',
    '3',
    '1.500',
    '0.01235',
    '123457',
    '1.00e-7',
    '∞',
    'NaN',
  ]);
});
