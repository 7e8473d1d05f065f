"""Greedy generation with the exported prefill and decode graphs, on Qualcomm's HTP emulator or on ONNX Runtime's processor.

    python generate.py DIR --prompt TEXT [--tokens 32] [--on cpu htp] [--soc sm8650]

DIR is what `mobilequant export --target qnn-qdq` wrote. The prompt is one text without special tokens, padded on the right for prefill;
what prefill makes of its keys and values becomes the front of the cache, and each token is decoded behind it. Integers go from graph to
graph as they are.
"""
import argparse
import os
import sys
import time

import numpy as np
from tokenizers import Tokenizer

from measure import SOCS, cpu_session, htp_session


def feeds_of(session, **given):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, given)))


def caches_of(session):
    """An empty cache, by the names of the inputs that take it."""
    return {given.name: np.full(given.shape, 128, np.uint8) for given in session.get_inputs() if given.name.startswith("past.")}


def put(cache, outputs, at, count):
    """The first `count` new entries of every layer, behind `at` others."""
    for name, entries in outputs.items():
        if name.startswith("present."):
            cache[name.replace("present.", "past.")][:, at : at + count] = entries[:, :count]


def outputs_of(session, feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds)))


def generate(directory, open_session, ids, count):
    prepare, read = (cpu_session(os.path.join(directory, f"{name}-inputs.onnx")) for name in ("prefill", "decode"))
    prefill, decode = (open_session(os.path.join(directory, f"{name}.onnx")) for name in ("prefill", "decode"))
    length = prepare.get_inputs()[0].shape[0]
    if len(ids) > length:
        sys.exit(f"--prompt: expected at most {length} tokens, got {len(ids)}. Export with --tokens {len(ids)}.")
    padded = np.zeros(length, np.int32)
    padded[: len(ids)] = ids
    first = outputs_of(prefill, feeds_of(prepare, input_ids=padded))
    cache = caches_of(decode)
    prefix = first["present.0.keys"].shape[1] - length
    filled = prefix + len(ids)
    room = cache["past.0.keys"].shape[1]
    if filled + count - 1 > room:
        sys.exit(f"--tokens: expected at most {room - filled + 1}, got {count}. Export with a longer --context.")
    put(cache, first, 0, filled)
    made = [int(first["logits"][len(ids) - 1].argmax())]
    while len(made) < count:
        feeds = feeds_of(read, input_ids=np.array(made[-1:], np.int32), past_length=np.array([filled], np.int32))
        outputs = outputs_of(decode, {**feeds, **cache})
        put(cache, outputs, filled, 1)
        filled += 1
        made.append(int(outputs["logits"][0].argmax()))
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--on", nargs="+", default=["cpu", "htp"], choices=["cpu", "htp"])
    parser.add_argument("--soc", default="sm8650", choices=sorted(SOCS))
    arguments = parser.parse_args()

    tokenizer = Tokenizer.from_file(os.path.join(arguments.directory, "tokenizer.json"))
    ids = tokenizer.encode(arguments.prompt, add_special_tokens=False).ids
    made = {}
    for provider in arguments.on:
        start = time.time()
        open_session = cpu_session if provider == "cpu" else (lambda path: htp_session(path, arguments.soc))
        made[provider] = generate(arguments.directory, open_session, ids, arguments.tokens)
        print(f"{provider}: {time.time() - start:.1f} s\n{tokenizer.decode(made[provider])}", flush=True)
    if len(made) == 2:
        differ = [i for i, (a, b) in enumerate(zip(made["cpu"], made["htp"])) if a != b]
        print("equal tokens" if not differ else f"the first {differ[0]} of {arguments.tokens} tokens are equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
