"""Runs exported graphs on Qualcomm's NPU, emulated where there is none, and on the processor, and says how far they are apart.

in      {"directory": DIR, "soc": {"socModel": 57, "htpArch": 75}, "windows": [[ids], …], "prompt": [ids], "tokens": N}
out     progress {"stage", "done", "total", "token"?}
        result  {"read": {"processor": [[losses]], "npu": [[losses]], "meanDifference", "largestDifference", "equalTokens"} or null,
                 "said": {"processor": [ids], "npu": [ids], "stepDifference": [mean |logit difference|]} or null}
        refused {"graph", "error"}

DIR has prefill.onnx and decode.onnx, and the graphs that prepare their inputs. Each window is one text of as many tokens as prefill takes;
its losses are those of all tokens but the first. The prompt is gone on with greedily: prefill reads it, what it makes of keys and values
becomes the front of the cache, and decode adds a token at a time. Integers go from graph to graph as they are.
"""
import os

import numpy as np
import onnx
from onnx import numpy_helper

from child import answer, request
from sessions import npu_session, outputs_of, processor_session

PLACES = ("processor", "npu")


class Refused(Exception):
    def __init__(self, graph, error):
        super().__init__(str(error))
        self.graph = graph


class Graphs:
    """What was exported under one name: the graph that prepares inputs, and the one for the NPU, in both places."""

    def __init__(self, directory, name, soc):
        path = os.path.join(directory, f"{name}.onnx")
        self.inputs = processor_session(os.path.join(directory, f"{name}-inputs.onnx"))
        self.scale, self.zero_point = grid_of_output(path, "logits")
        answer("progress", stage=f"compile {name}", done=0, total=1)
        self.sessions = {"processor": processor_session(path)}
        try:
            self.sessions["npu"] = npu_session(path, soc)
        except Exception as error:
            raise Refused(name, error) from error

    def run(self, place, cache=None, **given):
        return outputs_of(self.sessions[place], {**outputs_of(self.inputs, given), **(cache or {})})

    def logits(self, outputs):
        return (outputs["logits"].astype(np.float32) - self.zero_point) * np.float32(self.scale)


def grid_of_output(path, name):
    """Scale and zero point of the QuantizeLinear that makes an output."""
    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    node = next(node for node in graph.node if name in node.output)
    scale, zero_point = (numpy_helper.to_array(constants[given], os.path.dirname(path)) for given in node.input[1:3])
    return float(scale), int(zero_point)


def losses(logits, tokens):
    """-log softmax(logits)[next token] of each token but the last."""
    rows = logits[: len(tokens) - 1].astype(np.float64)
    top = rows.max(axis=1)
    total = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return total - rows[np.arange(len(rows)), tokens[1:]]


def read(prefill, windows):
    """Each window in both places."""
    found = {place: [] for place in PLACES}
    difference, largest, equal = [], 0.0, []
    for number, window in enumerate(windows):
        ids = np.array(window, np.int32)
        logits = {}
        for place in PLACES:
            answer("progress", stage=f"read, {place}", done=number, total=len(windows))
            logits[place] = prefill.logits(prefill.run(place, input_ids=ids))
            found[place].append(losses(logits[place], ids).tolist())
        apart = np.abs(logits["npu"] - logits["processor"])
        difference.append(apart.mean())
        largest = max(largest, float(apart.max()))
        equal.append((logits["npu"].argmax(1) == logits["processor"].argmax(1)).mean())
    return {
        **found,
        "meanDifference": float(np.mean(difference)),
        "largestDifference": largest,
        "equalTokens": float(np.mean(equal)),
    }


def go_on(prefill, decode, place, prompt, count):
    """The likeliest tokens behind a prompt, and the logits that each was chosen by."""
    session = decode.sessions[place]
    cache = {
        given.name: np.full(given.shape, 128, np.uint8) for given in session.get_inputs() if given.name.startswith("past.")
    }
    length = prefill.inputs.get_inputs()[0].shape[0]
    padded = np.zeros(length, np.int32)
    padded[: len(prompt)] = prompt
    outputs = prefill.run(place, input_ids=padded)
    filled = outputs["present.0.keys"].shape[1] - length + len(prompt)  # the prefix of the model comes first
    room = cache["past.0.keys"].shape[1]
    if filled + count - 1 > room:
        raise Refused("decode", f"a context for {filled + count} positions was expected, got one for {room + 1}")
    put(cache, outputs, 0, filled)
    rows, made = [prefill.logits(outputs)[len(prompt) - 1]], []
    while True:
        made.append(int(rows[-1].argmax()))
        answer("progress", stage=f"go on, {place}", done=len(made), total=count, token=made[-1])
        if len(made) == count:
            return made, rows
        ids, past = np.array(made[-1:], np.int32), np.array([filled], np.int32)
        outputs = decode.run(place, cache, input_ids=ids, past_length=past)
        put(cache, outputs, filled, 1)
        filled += 1
        rows.append(decode.logits(outputs)[0])


def put(cache, outputs, at, count):
    """The first `count` new entries of every layer, behind `at` others."""
    for name, entries in outputs.items():
        if name.startswith("present."):
            cache[name.replace("present.", "past.")][:, at : at + count] = entries[:, :count]


def main():
    asked = request()
    directory, soc, windows, prompt = (asked[name] for name in ("directory", "soc", "windows", "prompt"))
    prefill = Graphs(directory, "prefill", soc)
    found = {"read": read(prefill, windows) if windows else None, "said": None}
    if prompt:
        decode = Graphs(directory, "decode", soc)
        (ours, rows), (theirs, other) = (go_on(prefill, decode, place, prompt, asked["tokens"]) for place in PLACES)
        # Behind the first token that differs the texts are different ones.
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), len(ours) - 1)
        step = [float(np.abs(a - b).mean()) for a, b in zip(rows[: same + 1], other)]
        found["said"] = {"processor": ours, "npu": theirs, "stepDifference": step}
    answer("result", **found)


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        answer("refused", graph=error.graph, error=str(error))
