"""Compares the logits that another program computed from a model directory with those that transformers computes from it.

    python check_converted.py DIR FILE [DIR FILE ...]

DIR is a Hugging Face model directory, such as `mobilequant convert` writes. FILE is safetensors: `input_ids` int32
[texts, tokens], and `logits` float32 [texts, tokens, vocab] from the other program; other tensors are not looked at.
Prints the largest difference relative to the largest logit, and exits with status 1 where one is above 1e-4.
"""

from __future__ import annotations

import sys

import torch
import transformers
from safetensors.torch import load_file

LIMIT = 1e-4


def relative_error(directory: str, file: str) -> float:
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    tied = "lm_head.weight" if model.config.tie_word_embeddings else None
    missing = [name for name in loading["missing_keys"] if name != tied]
    for problem, names in [("missing", missing), ("unexpected", loading["unexpected_keys"])]:
        if names:
            sys.exit(f"{directory}: {problem} tensors: {', '.join(sorted(names))}.")

    stored = load_file(file)
    ids, logits = stored["input_ids"].long(), stored["logits"].float()
    with torch.no_grad():
        own = model.eval()(ids, use_cache=False).logits
    if own.shape != logits.shape:
        sys.exit(f"{file}: expected logits {list(own.shape)}, got {list(logits.shape)}.")
    return ((logits - own).abs().max() / own.abs().max()).item()


def main() -> None:
    paths = sys.argv[1:]
    if not paths or len(paths) % 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    passed = True
    for directory, file in zip(paths[::2], paths[1::2]):
        error = relative_error(directory, file)
        good = error <= LIMIT  # false for NaN
        print(f"{directory}: max relative error {error:.2e}, {'at most' if good else 'NOT at most'} {LIMIT:.0e}")
        passed = passed and good
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
