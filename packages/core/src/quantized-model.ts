/**
 * The values in which calibration, exporter and evaluator meet.
 */
import type { Encodings, Recipe } from '@mobilequant/quantizer';
import type { DecoderConfig } from './config.ts';
import type { Weights } from './weights.ts';

/** A decoder in float. */
export interface FloatModel {
  readonly config: DecoderConfig;
  readonly weights: Weights;
}

/** Its weights are float too, of the transformed model: the same function as the model that came in. */
export interface QuantizedModel extends FloatModel {
  readonly recipe: Recipe;
  /** Activation sites and weights alike; a weight outside its encoding's range is clipped by it. */
  readonly encodings: Encodings;
}
