/** @throws RangeError where there are no texts to look at, or to learn from. */
export function checkSamples(samples: readonly Int32Array[], where: string): void {
  if (samples.length === 0) throw new RangeError(`${where}: expected at least one sample, got none.`);
}
