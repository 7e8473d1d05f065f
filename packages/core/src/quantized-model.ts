/**
 * The value in which calibration, exporter and evaluator meet.
 */
import type { Encodings, Recipe } from '@mobilequant/quantizer';
import type { DecoderConfig } from './config.ts';
import type { Weights } from './weights.ts';

export interface QuantizedModel {
  readonly config: DecoderConfig;
  /** Float weights of the transformed model, the same function as the model that came in. */
  readonly weights: Weights;
  readonly recipe: Recipe;
  /** Activation sites and weights alike; a weight outside its encoding's range is clipped by it. */
  readonly encodings: Encodings;
}
