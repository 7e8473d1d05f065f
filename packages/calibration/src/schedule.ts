/** From this rate to that one: linear warm-up, then half a cosine. */
export interface LearningRate {
  readonly from: number;
  readonly to: number;
}

/**
 * The learning rate at a step (from 0) of `steps`. Without warm-up step 0 has the full rate, and the last step
 * does not quite reach `to`.
 */
export function learningRateAt({ from, to }: LearningRate, step: number, steps: number, warmUp = 0): number {
  if (step < warmUp) return (from * (step + 1)) / warmUp;
  return to + ((from - to) * (1 + Math.cos((Math.PI * (step - warmUp)) / (steps - warmUp)))) / 2;
}
