/** Drives Qualcomm's tools and phones. Here: what needs neither files nor programs. */

// What is measured
export { type BatteryPower, type BatterySample, batteryPower, parseBattery } from './battery.ts';
export {
  type BenchmarkResult,
  benchmarkTable,
  comparisonTable,
  type GraphMeasurement,
  type GraphResult,
  type GraphRun,
  graphResult,
  type Summary,
  summaryOf,
} from './benchmark-result.ts';
export { DeviceError } from './errors.ts';
// What is compiled, and how
export { type HtpOptions, htpCompileConfig, htpRunConfig, toolConfig } from './htp-config.ts';
export { planScript, SDK_VARIABLE } from './plan-script.ts';
export { acceleratorTimes, executionTimes, type OperatorCost, type Profile, parseProfile } from './profile.ts';
export {
  type CompileOptions,
  type CompilePlan,
  type ContextBinary,
  compilePlan,
  exportedGraphs,
  type GraphFile,
  type SdkCommand,
  type SdkTool,
} from './sdk-commands.ts';
export { findSoc, type Soc, socs } from './socs.ts';
