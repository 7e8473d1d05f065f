/** Shows what was measured of quantized models, as one HTML page. */

export { isNoisy } from './noise.ts';
export type {
  Comparison,
  Divergences,
  KindDivergence,
  ModelFacts,
  Noise,
  Outlier,
  Override,
  Peak,
  Range,
  ReportData,
  Score,
  SiteRanges,
  SiteValues,
  Tuning,
} from './report-data.ts';
export { reportPage } from './report-page.ts';
