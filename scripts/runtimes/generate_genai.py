"""ONNX Runtime GenAI goes on with a prompt, greedily, from what `mobilequant export --target genai` or `genai-qnn` wrote.

    python generate_genai.py DIR --prompt TEXT [--tokens N] [--same-as FILE] [--processor]

FILE is what `mobilequant generate … --json` printed; other tokens than its are an error. `--processor` runs the graphs for an NPU here,
each operator as it is written: from a copy of DIR whose settings name no provider.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime_genai as og


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--same-as")
    parser.add_argument("--processor", action="store_true")
    options = parser.parse_args()
    if not options.processor:
        return generate(options)
    with tempfile.TemporaryDirectory() as folder:
        options.directory = for_processor(options.directory, Path(folder, "model"))
        return generate(options)


def for_processor(directory: str, copy: Path) -> str:
    """The folder with settings in which no graph has a provider, or is fused."""
    shutil.copytree(directory, copy)
    path = copy / "genai_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for stages in settings["model"]["decoder"].get("pipeline", []):
        for stage in stages.values():
            stage["session_options"] = {"provider_options": [], "graph_optimization_level": "ORT_DISABLE_ALL"}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return str(copy)


def generate(options: argparse.Namespace) -> int:
    model = og.Model(options.directory)
    tokenizer = og.Tokenizer(model)
    prompt = tokenizer.encode(options.prompt)
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False)
    generator = og.Generator(model, params)
    start = time.perf_counter()
    generator.append_tokens(prompt)
    tokens = []
    while not generator.is_done() and len(tokens) < options.tokens:
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    seconds = time.perf_counter() - start
    ends = json.loads(Path(options.directory, "genai_config.json").read_text(encoding="utf-8"))["model"]["eos_token_id"]
    if tokens and tokens[-1] in (ends if isinstance(ends, list) else [ends]):
        tokens.pop()  # it ends the text, and is no part of it
    print(json.dumps({"text": tokenizer.decode(tokens), "tokens": tokens, "prompt": len(prompt), "seconds": seconds}))

    if options.same_as is None:
        return 0
    wanted = json.loads(Path(options.same_as).read_text(encoding="utf-8"))["tokens"]
    if wanted != tokens:
        print(f"expected the tokens {wanted}, got {tokens}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
