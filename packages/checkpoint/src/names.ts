/** Tensors in checkpoints that are no weights. */

/** Whether a tensor is a buffer that is computed anew from the config: the rotary embedding's frequencies. */
export const isComputedBuffer = (name: string): boolean => name.endsWith('rotary_emb.inv_freq');
