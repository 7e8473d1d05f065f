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
    """Name -> (scale, zero point on the unsigned grid) of activations, and the names of parameters; version 1.0.0."""
    with open(path) as file:
        content = json.load(file)
    if content["version"] != "1.0.0":
        sys.exit(f"{path}: expected version 1.0.0, got {content['version']}. Export it without --encodings-version.")
    grids = {e["name"]: (e["scale"][0], -e["offset"][0]) for e in content["activation_encodings"]}
    return grids, [e["name"] for e in content["param_encodings"]]


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
    print(f"{len(named)} encodings, {len(enabled)} quantizers")
    for what, names in [("encodings without a quantizer", named - enabled), ("quantizers without an encoding", enabled - named)]:
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

    wanted = run(integer, {**run(prepare["integer"], given), **caches})
    got = run(sim.session, {**run(prepare["real"], given), **real}, outputs)
    kinds = {}
    for name, levels_wanted in wanted.items():
        apart = np.abs(levels(got[name], grids[name]) - levels_wanted.astype(np.int64)).ravel()
        kinds.setdefault(re.sub(r"\d+", "*", name), []).append(apart)
    real_logits = (wanted["logits"].astype(np.float64) - grids["logits"][1]) * grids["logits"][0]
    rms = lambda x: np.sqrt(np.mean(np.square(x)))
    print(f"logits differ by {100 * rms(got['logits'] - real_logits) / rms(real_logits):.3f}% by root mean square")
    for kind, parts in kinds.items():
        apart = np.concatenate(parts)
        bits = 8 if kind.startswith("present") else 16
        print(f"{kind}: {100 * np.mean(apart == 0):.3f}% of {apart.size} the same integer, at most {apart.max()} steps of {2 ** bits} apart, {apart.mean():.4f} in the mean")
    return 1 if named != enabled else 0


if __name__ == "__main__":
    sys.exit(main())
