/** Files of weights by their names: what tells a model's directory from that of an export. */

/** As checkpoints have them: in one file or in parts, with an index or without, those that are not read here too. */
const WEIGHTS = /^((pytorch_)?model|consolidated)\b.*\.(safetensors|bin|pth)(\.index\.json)?$|\.gguf$/i;

/** Whether a directory with these entries holds a checkpoint's weights. */
export const hasWeights = (entries: readonly string[]): boolean => entries.some((entry) => WEIGHTS.test(entry));
