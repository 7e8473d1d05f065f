/** What a compiler made of graphs, in words. */
import type { CompiledContext } from '@mobilequant/device/node';
import { duration, size } from './progress.ts';

/** A line for each graph and each binary. */
export function describeContext({ graphs, binaries }: CompiledContext): string {
  const weightBits = (weights: Readonly<Record<string, number>>): string =>
    Object.entries(weights)
      .map(([bits, count]) => `${(count / 1e6).toFixed(1)} M in ${bits} bits`)
      .join(', ');
  return [
    ...graphs.map(
      ({ name, nodes, operators, weights, seconds }) =>
        `${name}: ${nodes} nodes, ${operators} operators on the NPU, no tensor in floating point; constants: ${weightBits(weights)}; ${duration(seconds)}`,
    ),
    ...binaries.map(
      ({ path, graphs: inside, bytes, peakBytes }) =>
        `${path}: ${inside.join(', ')}, ${size(bytes)}; the compiler took ${size(peakBytes)} of memory`,
    ),
  ].join('\n');
}
