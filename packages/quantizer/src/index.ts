/** Turns floats into integers: specs, ranges, scale and zero point, rounding, packing, encodings, recipes. */

// What a quantizer is

export type { Encoding, Encodings } from './encoding.ts';
export { type Grid, gridFromEncoding, SCALE_MIN } from './grid.ts';
export type { Granularity, QuantizerSpec, Range, SiteSpec } from './spec.ts';

// Ranges, scales and zero points

export {
  type Affine,
  affineFromRange,
  type EncodingFromRanges,
  encodingFromRange,
  encodingFromRanges,
  rangesFromEncoding,
} from './encoding-from-ranges.ts';
export { exactRange } from './exact-range.ts';
export { groupCount } from './groups.ts';
export { type Ranges, rangesFromRange, rangesOf, symmetricRanges } from './ranges.ts';
export {
  REFERENCE_SCALE_MAX,
  type ReferenceAffine,
  rangesFromReferenceGrid,
  referenceAffine,
  referenceGrid,
} from './reference-grid.ts';

// Fake quantization and its gradients

export { fakeQuantizeDynamic, fakeQuantizeDynamicGradient } from './dynamic.ts';
export { type FakeQuantizeGradient, fakeQuantize, fakeQuantizeGradient } from './fake-quantize.ts';
export {
  type ClippingFactors,
  type ClippingGradient,
  clip,
  clippedRanges,
  fakeQuantizeClipped,
  fakeQuantizeClippedGradient,
} from './learned-clipping.ts';
export { roundHalfEven } from './round.ts';

// Integers

export { packInt4, unpackInt4 } from './pack-int4.ts';
export { dequantize, type QuantizeOptions, quantize, type SignedLevels, type UnsignedLevels } from './quantize.ts';

// Sites and recipes

export { checkRecipe } from './check-recipe.ts';
export { matchSite } from './match-site.ts';
export {
  describeRecipe,
  describeSpec,
  parseRecipe,
  type RangeRuleJson,
  type RecipeJson,
  recipeToJson,
} from './parse-recipe.ts';
export type { RangeRule, Recipe, ResolveSite, Rule, SiteRangeRule } from './recipe.ts';
export { gateOutput16, type RecipeName, recipeByName, recipes, softmaxInput8, softmaxOutput8 } from './recipes.ts';
export { resolveRecipe, unusedRules, withRules } from './resolve-recipe.ts';
export { type DecoderShape, decoderSites, layerSites, type Port, ports, siteInLayer, splitSite } from './sites.ts';

// Files

export { type EncodingJson, type EncodingsJson, encodingsFromJson, encodingsToJson } from './encodings-json.ts';
export {
  type ReferenceConfig,
  type ReferenceRanges,
  type ReferenceSiteConfig,
  rangesFromReference,
  recipeFromReferenceConfig,
  referenceConfigFromRecipe,
  referenceFromRanges,
} from './reference-files.ts';
export type { SpecJson } from './spec-json.ts';

// Errors

export { type ErrorFacts, FormatError, NonFiniteError, RecipeError, ShapeError } from './errors.ts';
