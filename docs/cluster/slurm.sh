#!/bin/bash
# An evaluation in 8 shards, and one job behind them that puts them together, in a directory with models/ and data/:
#
#   mkdir -p results && array=$(sbatch --parsable slurm.sh)
#   sbatch --dependency=afterok:"$array" --wrap 'npx --yes mobilequant merge results/shard-*.jsonl --json > results/result.json'
#
# A task that is requeued goes on from the records that it left.
#SBATCH --job-name=evaluate
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=results/shard-%a.log

set -euo pipefail

shard=$SLURM_ARRAY_TASK_ID
npx --yes mobilequant evaluate models/smollm2-w8a8 \
  --form integer \
  --tasks wikitext,arc_challenge,hellaswag,mmlu,lambada \
  --data-dir data \
  --threads "$SLURM_CPUS_PER_TASK" \
  --shard "$shard/$SLURM_ARRAY_TASK_COUNT" \
  --records "results/shard-$shard.jsonl"
