import { expect, test } from 'vitest';
import { acceleratorTimes, executionTimes, parseProfile } from './profile.ts';

const HEAD = 'Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier';

/** As ONNX Runtime writes it, two executions. */
const fromProvider = `${HEAD}
0,FINALIZE,26591,US,BACKEND,ROOT,QNN (finalize) time
0,UNKNOWN,24413,US,BACKEND,SUB-EVENT,Graph Optimizations
0,BACKEND,4,COUNT,BACKEND,ROOT,Number of HVX threads used
0,BACKEND,43363,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
0,NODE,6002,CYCLES,BACKEND,SUB-EVENT,Input OpId_2 (cycles)
0,NODE,36333,CYCLES,BACKEND,SUB-EVENT,model.layers.0.mlp.w1:OpId_23 (cycles)
0,NODE,0,CYCLES,BACKEND,SUB-EVENT,Reshape:OpId_24 (cycles)
0,BACKEND,5122,US,BACKEND,ROOT,Accelerator (execute) time
0,EXECUTE,5306,US,BACKEND,ROOT,QNN (execute) time
0,BACKEND,4,COUNT,BACKEND,ROOT,Number of HVX threads used
0,BACKEND,43951,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
0,NODE,4095,CYCLES,BACKEND,SUB-EVENT,Input OpId_2 (cycles)
0,NODE,38781,CYCLES,BACKEND,SUB-EVENT,model.layers.0.mlp.w1:OpId_23 (cycles)
0,NODE,0,CYCLES,BACKEND,SUB-EVENT,Reshape:OpId_24 (cycles)
0,BACKEND,3369,US,BACKEND,ROOT,Accelerator (execute) time
0,EXECUTE,3470,US,BACKEND,ROOT,QNN (execute) time
`;

/** As the SDK's viewer writes it. */
const fromViewer = `${HEAD}\r
15423026395,INIT,1234,US,BACKEND,ROOT,QNN (load binary) time\r
15423026395,EXECUTE,3301,US,NETRUN,ROOT,Graph 0: decode\r
15423026395,EXECUTE,1851,US,BACKEND,ROOT,QNN accelerator (execute) time\r
15423026395,EXECUTE,1700,US,BACKEND,ROOT,Accelerator (execute excluding wait) time\r
15423026395,EXECUTE,149241,CYCLES,BACKEND,SUB-EVENT,_Softmax:OpId_127 (cycles)\r
15423026395,EXECUTE,3278,US,BACKEND,ROOT,QNN (execute) time\r
15423026395,EXECUTE,302.93,INF/SEC,NETRUN,ROOT,NetRun IPS\r
`;

test('times of executions, as their caller and as the NPU sees them', () => {
  const profile = parseProfile(fromProvider);
  expect(executionTimes(profile)).toEqual([5306, 3470]);
  expect(acceleratorTimes(profile)).toEqual([5122, 3369]);
  expect(profile.times.get('QNN (finalize) time')).toEqual([26591]);
  expect([...profile.times.keys()]).not.toContain('Graph Optimizations');
});

test('cycles of operators add up over executions, the most expensive first', () => {
  expect(parseProfile(fromProvider).operators).toEqual([
    { name: 'model.layers.0.mlp.w1', id: 23, cycles: 75114, executions: 2 },
    { name: 'Input', id: 2, cycles: 10097, executions: 2 },
    { name: 'Reshape', id: 24, cycles: 0, executions: 2 },
  ]);
});

test('the form of the SDK is read alike', () => {
  const profile = parseProfile(fromViewer);
  expect(executionTimes(profile)).toEqual([3278]);
  expect(acceleratorTimes(profile)).toEqual([1700]);
  expect(profile.operators).toEqual([{ name: '_Softmax', id: 127, cycles: 149241, executions: 1 }]);
});

test('names may have commas, in quotes or not, and there may be more columns', () => {
  const plain = `${HEAD}\n0,NODE,5,CYCLES,BACKEND,SUB-EVENT,a,b:OpId_1 (cycles)\n`;
  const quoted = `${HEAD}\n0,NODE,5,CYCLES,BACKEND,SUB-EVENT,"a,""b"":OpId_1 (cycles)"\n`;
  const wider = `${HEAD},ONNX Source Ops\n0,NODE,5,CYCLES,BACKEND,SUB-EVENT,a:OpId_1 (cycles),MatMul\n`;
  expect([plain, quoted, wider].map((text) => parseProfile(text).operators[0]?.name)).toEqual(['a,b', 'a,"b"', 'a']);
});

test('control characters of a device do not reach a terminal', () => {
  const text = `${HEAD}\n0,NODE,5,CYCLES,BACKEND,SUB-EVENT,\u001b[31mred\u0007:OpId_1 (cycles)\n`;
  expect(parseProfile(text).operators[0]?.name).toBe('red');
});

test('a file that is no profile is refused, with the line', () => {
  expect(() => parseProfile('')).toThrow('got an empty file');
  expect(() => parseProfile('a,b\n1,2\n', 'p.csv')).toThrowErrorMatchingInlineSnapshot(
    `[DeviceError: p.csv, line 1: expected the columns Msg Timestamp, Message, Time, Unit of Measurement, Timing Source, Event Level, Event Identifier, got 'a,b'. Take the CSV that \`qnn-profile-viewer --output\` writes.]`,
  );
  expect(() => parseProfile(`${HEAD}\n0,EXECUTE,5306,US\n`)).toThrow('profile, line 2: expected 7 cells, got 4');
  for (const time of ['-5', 'NaN', '', '1e9', '0x10', '99999999999999999', '9007199254740993']) {
    const text = `${HEAD}\n\n0,EXECUTE,${time},US,BACKEND,ROOT,QNN (execute) time\n`;
    expect(() => parseProfile(text)).toThrow('line 3: expected a time');
  }
  const long = `${HEAD}\n0,NODE,5,CYCLES,BACKEND,SUB-EVENT,${'x'.repeat(5000)}\n`;
  expect(() => parseProfile(long)).toThrow('expected a name, got 5000 characters');
});

test('a profile without executions is no measurement', () => {
  const text = `${HEAD}\n0,FINALIZE,26591,US,BACKEND,ROOT,QNN (finalize) time\n`;
  expect(() => executionTimes(parseProfile(text))).toThrow('expected times of executions, got QNN (finalize) time');
});
