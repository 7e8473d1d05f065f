"""ONNX Runtime GenAI goes on with a prompt, greedily, from what `mobilequant export --target genai` wrote.

    python generate_genai.py DIR --prompt TEXT [--tokens N] [--same-as FILE]

FILE is what `mobilequant generate … --json` printed; other tokens than its are an error.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import onnxruntime_genai as og


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--same-as")
    options = parser.parse_args()

    model = og.Model(options.directory)
    tokenizer = og.Tokenizer(model)
    prompt = tokenizer.encode(options.prompt)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + options.tokens, do_sample=False)
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
    print(json.dumps({"text": tokenizer.decode(tokens), "tokens": tokens, "seconds": seconds}))

    if options.same_as is None:
        return 0
    wanted = json.loads(Path(options.same_as).read_text(encoding="utf-8"))["tokens"]
    if wanted != tokens:
        print(f"expected the tokens {wanted}, got {tokens}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
