"""Compiles graphs of integers for a chip into one context binary, and looks at what the compiler made of them.

in      {"graphs": [{"name": "prefill", "model": "DIR/prefill.onnx"}, …], "out": FOLDER, "soc": {"socModel": 57, "htpArch": 75}}
out     progress {"graph", "done", "total"}; result {"graphs": [{"name", "file", "nodes", "operators", "counts", "weights", "floats",
        "seconds"}], "binary", "bytes", "peakBytes"}; or refused {"graph", "error", "reasons"}

Writes NAME.onnx for each graph, one EPContext node that names the binary, and the binary. With several graphs equal weights lie in it once.
"""
import json
import os
import re
import resource
import tempfile
import time
from collections import Counter

import onnx

from child import answer, request
from sessions import npu_session

# What the provider's dump of a graph calls things.
FLOATS = {0x216: "float16", 0x232: "float32", 0x264: "float64", 0x116: "bfloat16"}
STATIC = 4
BITS_OF_ENCODING = {2: 4, 3: 4}  # 4 bits to a weight, by tensor and by channel; others have those of their type


def compiled_graph(folder):
    """Operators, stored weights by their bits, and tensors in floating point, of the one graph whose dump is there."""
    dumps = [name for name in os.listdir(folder) if name.endswith(".json") and not name.endswith("_tensor_log.json")]
    if len(dumps) != 1:
        raise RuntimeError(f"expected one compiled graph, got {len(dumps)}")
    with open(os.path.join(folder, dumps[0]), encoding="utf-8") as file:
        graph = json.load(file)["graph"]
    counts = Counter(node["type"] for node in graph["nodes"].values())
    weights = Counter()
    for tensor in graph["tensors"].values():
        if tensor["type"] == STATIC:
            size = 1
            for length in tensor["dims"]:
                size *= length
            weights[bits_of(tensor)] += size
    floats = [name for name, tensor in graph["tensors"].items() if tensor["data_type"] in FLOATS]
    return {
        "operators": len(graph["nodes"]),
        "counts": dict(counts.most_common()),
        "weights": {str(bits): count for bits, count in sorted(weights.items())},
        "floats": floats,
    }


def bits_of(tensor):
    quantization = tensor["quant_params"]
    if quantization["definition"] == 1 and quantization["encoding"] in BITS_OF_ENCODING:
        return BITS_OF_ENCODING[quantization["encoding"]]
    return int(f"{tensor['data_type'] & 0xFF:x}")  # 0x308 has 8, 0x416 has 16


def compile_graph(graph, out, soc, share, last):
    """Writes `out/NAME.onnx`, and with the last graph the binary."""
    path = os.path.join(out, f"{graph['name']}.onnx")
    entries = {"ep.context_enable": "1", "ep.context_file_path": path, "ep.context_embed_mode": "0"}
    if share:
        entries["ep.share_ep_contexts"] = "1"
        entries["ep.stop_share_ep_contexts"] = "1" if last else "0"
    with tempfile.TemporaryDirectory() as dumps:
        start = time.monotonic()
        npu_session(graph["model"], soc, entries, {"dump_json_qnn_graph": "1", "json_qnn_graph_dir": dumps})
        seconds = time.monotonic() - start
        found = compiled_graph(dumps)
    nodes = onnx.load(path, load_external_data=False).graph.node
    left = [f"{node.op_type} {node.name}" for node in nodes if node.op_type != "EPContext"]
    if left or len(nodes) != 1:
        raise RuntimeError(f"expected one node of the NPU, got {len(nodes)}: {', '.join(left[:5])}")
    binary = next(a.s.decode() for a in nodes[0].attribute if a.name == "ep_cache_context")
    before = len(onnx.load(graph["model"], load_external_data=False).graph.node)
    return {"name": graph["name"], "file": os.path.basename(path), "nodes": before, **found, "seconds": round(seconds, 2)}, binary


def reasons(graph, soc):
    """Why a graph was refused: the lines of the provider's own log that say so."""
    with tempfile.TemporaryFile() as log:
        kept = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            npu_session(graph["model"], soc, severity=0)
        except Exception:  # the same as before
            pass
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    wanted = [line for line in lines if re.search(r"REASON|Validation FAILED|backendValidateOpConfig\(\) failed", line)]
    return list(dict.fromkeys(re.sub(r"\x1b\[[0-9;]*m|^[0-9-]+ [0-9:.]+ ", "", line).strip() for line in wanted))[:10]


def main():
    asked = request()
    graphs, out, soc = asked["graphs"], asked["out"], asked["soc"]
    made, binaries = [], set()
    for number, graph in enumerate(graphs):
        answer("progress", graph=graph["name"], done=number, total=len(graphs))
        try:
            found, binary = compile_graph(graph, out, soc, len(graphs) > 1, number == len(graphs) - 1)
        except Exception as error:
            return answer("refused", graph=graph["name"], error=str(error), reasons=reasons(graph, soc))
        made.append(found)
        binaries.add(binary)
    if len(binaries) != 1:
        raise RuntimeError(f"expected one binary, got {', '.join(sorted(binaries))}")
    binary = binaries.pop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer("result", graphs=made, binary=binary, bytes=os.path.getsize(os.path.join(out, binary)), peakBytes=peak)


if __name__ == "__main__":
    main()
