"""Loads exported encodings into AIMET's simulation, and compares what it computes with the graph of integers.

    python check_encodings.py ENCODINGS INTEGERS [--graph prefill] [--seed 0]
"""

import argparse
import json
import os
import re
import sys

import numpy as np
import onnx
import onnxruntime as ort
from aimet_onnx.quantsim import QuantizationSimModel, load_encodings_to_sim


def exact_session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, feeds, names=None):
    """Outputs by name; AIMET gives them other names, in the same order."""
    return dict(zip(names or [output.name for output in session.get_outputs()], session.run(None, feeds)))


def entries(path):
    """Name -> (scale, zero point on the unsigned grid) of activations, and name -> bits of parameters; version 1.0.0."""
    with open(path) as file:
        content = json.load(file)
    if content["version"] != "1.0.0":
        sys.exit(f"{path}: expected version 1.0.0, got {content['version']}. Export it without --encodings-version.")
    grids = {e["name"]: (e["scale"][0], -e["offset"][0]) for e in content["activation_encodings"]}
    return grids, {e["name"]: e["bw"] for e in content["param_encodings"]}


def levels(values, grid):
    scale, zero = grid
    return np.round(values.astype(np.float64) / scale).astype(np.int64) + zero


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encodings", help="directory that --target qnn-encodings wrote")
    parser.add_argument("integers", help="directory that --target qnn-qdq wrote, of the same model and sizes")
    parser.add_argument("--graph", default="prefill", choices=["prefill", "decode"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    at = lambda folder, name: os.path.join(folder, f"{args.graph}{name}")

    grids, params = entries(at(args.encodings, ".encodings"))
    # Widths are those of the file: what differs from these settings is taken over.
    model = onnx.load(at(args.encodings, ".onnx"))
    outputs = [output.name for output in model.graph.output]
    sim = QuantizationSimModel(model, param_type="int8", activation_type="int16", providers=["CPUExecutionProvider"])
    load_encodings_to_sim(sim, at(args.encodings, ".encodings"), strict=False)
    named = set(grids) | set(params)
    enabled = {name for name, quantizer in sim.qc_quantize_op_dict.items() if quantizer.enabled}
    # AIMET computes with biases in float: their 32-bit grid is that of the product they are added to.
    biases = {name for name in named - enabled if params.get(name) == 32}
    without = named - enabled - biases
    print(f"{len(named)} encodings, {len(enabled)} quantizers, {len(biases)} biases of 32 bits, which AIMET leaves in float")
    for what, names in [("encodings without a quantizer", without), ("quantizers without an encoding", enabled - named)]:
        print(f"{what}: {len(names)} {', '.join(sorted(names)[:10])}")

    rng = np.random.default_rng(args.seed)
    prepare = {kind: exact_session(at(folder, "-inputs.onnx")) for kind, folder in [("real", args.encodings), ("integer", args.integers)]}
    integer = exact_session(at(args.integers, ".onnx"))
    vocab = next(output.shape[1] for output in integer.get_outputs() if output.name == "logits")
    given = {}
    for value in prepare["integer"].get_inputs():
        high = vocab if value.name == "input_ids" else 8
        given[value.name] = rng.integers(0, high, value.shape, dtype=np.int32)
    caches = {v.name: rng.integers(0, 256, v.shape).astype(np.uint8) for v in integer.get_inputs() if v.name.startswith("past.")}
    real = {n: ((q.astype(np.float32) - np.float32(grids[n][1])) * np.float32(grids[n][0])) for n, q in caches.items()}

    feeds = {**run(prepare["integer"], given), **caches}
    wanted = run(integer, feeds)
    # How far a step in half of the inputs carries, on tokens and caches that no model has seen: what ties that fall the other way do.
    hidden = feeds["hidden_states"]
    moved = hidden + ((rng.random(hidden.shape) < 0.5) & (hidden < 65535))
    nudged = run(integer, {**feeds, "hidden_states": moved})
    got = run(sim.session, {**run(prepare["real"], given), **real}, outputs)
    kinds = {}
    for name, levels_wanted in wanted.items():
        apart = np.abs(levels(got[name], grids[name]) - levels_wanted.astype(np.int64)).ravel()
        if ".0." in name:
            kinds[name] = [apart]
        kinds.setdefault(re.sub(r"\d+", "*", name), []).append(apart)
    real_logits = lambda q: (q.astype(np.float64) - grids["logits"][1]) * grids["logits"][0]
    rms = lambda x: np.sqrt(np.mean(np.square(x)))
    logits = real_logits(wanted["logits"])
    apart_by = lambda other: 100 * rms(other - logits) / rms(logits)
    print(f"logits differ by {apart_by(got['logits']):.3f}% by root mean square; ours, if half the values of the embeddings are one step (of 65,536) larger, by {apart_by(real_logits(nudged['logits'])):.3f}%")
    for kind, parts in kinds.items():
        apart = np.concatenate(parts)
        bits = 8 if kind.startswith("present") else 16
        print(f"{kind}: {100 * np.mean(apart == 0):.3f}% of {apart.size} the same integer, at most {apart.max()} steps of {2 ** bits} apart, {apart.mean():.4f} in the mean")
    return 1 if without or enabled - named else 0


if __name__ == "__main__":
    sys.exit(main())
