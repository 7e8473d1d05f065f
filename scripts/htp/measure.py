"""Perplexity of an exported prefill graph on Qualcomm's HTP emulator and on ONNX Runtime's processor, over the same windows of tokens.

    python measure.py DIR --data TEXT [--windows 4] [--on cpu htp] [--soc sm8650] [--logits FILE.npz]

DIR is what `mobilequant export --target qnn-qdq --tokens T` wrote. The windows are those of `mobilequant evaluate --tokens T`: T
consecutive tokens, not overlapping, from the start of the text; the first token of each is not scored. The processor runs the graph
as it is written, without fusions: float operators between DequantizeLinear and QuantizeLinear. The emulator must put all of it on
the NPU, or this fails.
"""
import argparse
import math
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from tokenizers import Tokenizer

SOCS = {"sm8750": (69, 79), "sm8650": (57, 75), "sm8550": (43, 73), "sm8450": (36, 69)}  # name: (soc_model, htp_arch)


def quiet_options():
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options


def cpu_session(path):
    options = quiet_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def htp_session(path, soc):
    import onnxruntime_qnn as qnn

    if not any("QNN" in device.ep_name for device in ort.get_ep_devices()):  # once a process
        ort.register_execution_provider_library("QNNExecutionProvider", qnn.get_library_path())
    options = quiet_options()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    soc_model, arch = SOCS[soc]
    devices = [device for device in ort.get_ep_devices() if "QNN" in device.ep_name][:1]
    options.add_provider_for_devices(devices, {
        "backend_path": qnn.get_qnn_htp_path(), "soc_model": str(soc_model), "htp_arch": str(arch), "vtcm_mb": "8",
        "htp_graph_finalization_optimization_mode": "3", "htp_performance_mode": "burst",
    })
    return ort.InferenceSession(path, options)


def grid_of_output(path, name):
    """Scale and zero point of the QuantizeLinear that makes an output."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    node = next(node for node in graph.node if name in node.output)
    scale, zero_point = (numpy_helper.to_array(constants[given], os.path.dirname(path)) for given in node.input[1:3])
    return float(scale), int(zero_point)


def surprise(logits, tokens):
    """-log softmax(logits)[next token] of each token but the last."""
    rows = logits[: len(tokens) - 1].astype(np.float64)
    top = rows.max(axis=1)
    total = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return total - rows[np.arange(len(rows)), tokens[1:]]


def windows_of(arguments, length):
    tokenizer = Tokenizer.from_file(os.path.join(arguments.directory, "tokenizer.json"))
    text = open(arguments.data, encoding="utf-8", newline="").read()
    ids = np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)
    count = min(len(ids) // length, arguments.windows)
    return ids[: count * length].reshape(count, length)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--data", required=True, help="text file")
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--on", nargs="+", default=["cpu", "htp"], choices=["cpu", "htp"])
    parser.add_argument("--soc", default="sm8650", choices=sorted(SOCS))
    parser.add_argument("--logits", help="write the logits of each provider here")
    arguments = parser.parse_args()

    path = os.path.join(arguments.directory, "prefill.onnx")
    inputs = cpu_session(os.path.join(arguments.directory, "prefill-inputs.onnx"))
    length = inputs.get_inputs()[0].shape[0]
    windows = windows_of(arguments, length)
    names = [output.name for output in inputs.get_outputs()]
    scale, zero_point = grid_of_output(path, "logits")

    kept = {}
    for provider in arguments.on:
        start = time.time()
        session = cpu_session(path) if provider == "cpu" else htp_session(path, arguments.soc)
        print(f"{provider}: ready in {time.time() - start:.1f} s", flush=True)
        losses = []
        for number, window in enumerate(windows):
            start = time.time()
            feeds = dict(zip(names, inputs.run(None, {"input_ids": window})))
            (levels,) = session.run(["logits"], feeds)
            logits = (levels.astype(np.float32) - zero_point) * np.float32(scale)
            kept.setdefault(provider, []).append(logits)
            losses.append(surprise(logits, window))
            print(f"{provider}: window {number + 1} of {len(windows)}, nll {losses[-1].mean():.4f}, {time.time() - start:.1f} s", flush=True)
        scored = np.concatenate(losses)
        print(f"{provider}: perplexity {math.exp(scored.mean()):.4f} over {len(scored)} tokens", flush=True)
    if len(kept) == 2:
        cpu, htp = (np.concatenate(kept[provider]) for provider in ("cpu", "htp"))
        agreement = (cpu.argmax(1) == htp.argmax(1)).mean()
        print(f"htp against cpu: mean |logit difference| {np.abs(cpu - htp).mean():.4f}, {100 * agreement:.1f} % equal likeliest tokens")
    if arguments.logits:
        np.savez(arguments.logits, **{provider: np.stack(logits) for provider, logits in kept.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
