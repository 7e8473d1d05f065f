import { expectTypeOf, test } from 'vitest';
import type { Encoding } from './encoding.ts';
import { unpackInt4 } from './pack-int4.ts';
import { quantize } from './quantize.ts';

declare const encoding: Encoding;

test('the option decides the type of the levels', () => {
  expectTypeOf(quantize([], encoding)).toEqualTypeOf<Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>>();
  expectTypeOf(quantize([], encoding, { signed: true })).toEqualTypeOf<
    Int8Array<ArrayBuffer> | Int16Array<ArrayBuffer>
  >();
  expectTypeOf(unpackInt4(new Uint8Array(), 0, { signed: true })).toEqualTypeOf<Int8Array<ArrayBuffer>>();
});
