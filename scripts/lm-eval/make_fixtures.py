"""What lm-evaluation-harness says of a model, as a small JSON file that our tests compare themselves with.

The tasks are the harness's own, by name, with its own model class (`hf`, PyTorch, float32, on the processor). Only the
data comes from a directory instead of the hub: `datasets.load_dataset` is given the same rows, as files.

    python make_fixtures.py MODEL DATA --tasks arc_challenge,hellaswag --limit 100 --out zero-shot.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from importlib.metadata import version
from pathlib import Path

import datasets
import lm_eval
import torch
from lm_eval.models.huggingface import HFLM

SEED = 1234  # the harness's default


def lines(path: Path) -> list[dict]:
    # not splitlines: it would divide items at rarer ends of lines too
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def articles(path: Path) -> list[dict]:
    """The pages of `EleutherAI/wikitext_document_level`, from the raw file."""
    pages: list[list[str]] = [[]]
    for line in path.read_text(encoding="utf-8").split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            if not "\n".join(pages[-1]).strip():
                pages.pop()
            pages.append([])
        pages[-1].append(line)
    return [{"page": "\n".join(page)} for page in pages]


class Data:
    """The files of a directory in the place of the hub's data sets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hashes: dict[str, str] = {}

    def file(self, name: str) -> Path:
        path = self.directory / name
        self.hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return path

    def load(self, path: str, name: str | None = None, **_) -> datasets.DatasetDict:
        rows = self.rows(path, name)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(own) for split, own in rows.items()})

    def rows(self, path: str, name: str | None) -> dict[str, list[dict]]:
        if path == "allenai/ai2_arc":
            folder = {"ARC-Challenge": "arc_challenge", "ARC-Easy": "arc_easy"}[name]
            # solved items are drawn from the training split, whose place another one takes here
            train = lines(self.file(f"{folder}/validation.jsonl"))
            return {"test": lines(self.file(f"{folder}/test.jsonl")), "train": train}
        if path == "Rowan/hellaswag":
            items = lines(self.file("hellaswag/validation.jsonl"))
            return {"validation": items, "train": items}
        if path == "EleutherAI/lambada_openai":
            return {"test": lines(self.file("lambada_openai/test.jsonl"))}
        if path == "cais/mmlu":
            of = lambda split: [row for row in lines(self.file(f"mmlu/{split}.jsonl")) if row["subject"] == name]
            return {"test": of("test"), "dev": of("dev")}
        if path == "EleutherAI/wikitext_document_level":
            items = articles(self.file("wikitext-2/test.part1.raw"))
            return {"test": items, "train": items}
        raise ValueError(f"no data for {path} {name}")


class TimedLM(HFLM):
    """The harness's model, and how long it took: neither opening it nor preparing tasks is counted."""

    seconds = 0.0

    def loglikelihood(self, requests, **options):
        return self.timed(super().loglikelihood, requests, options)

    def loglikelihood_rolling(self, requests, **options):
        return self.timed(super().loglikelihood_rolling, requests, options)

    def timed(self, method, requests, options):
        start = time.perf_counter()
        found = method(requests, **options)
        self.seconds += time.perf_counter() - start
        return found


def log_likelihoods(sample: dict) -> list[float]:
    values = [answer[0] if isinstance(answer, (list, tuple)) else answer for (answer,) in sample["resps"]]
    return [round(float(value), 6) for value in values]


def metrics(result: dict) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for key, value in result.items():
        name, _, _ = key.partition(",")
        if not key.endswith(",none") or not isinstance(value, (int, float)):
            continue  # standard errors that the harness does not have are "N/A"
        if name.endswith("_stderr"):
            found.setdefault(name.removesuffix("_stderr"), {})["standardError"] = float(value)
        else:
            found.setdefault(name, {})["value"] = float(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a Hugging Face directory")
    parser.add_argument("data", type=Path, help="the directory of the data")
    parser.add_argument("--tasks", required=True)
    parser.add_argument("--limit", type=int, help="items of each task")
    parser.add_argument("--fewshot", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=2048, help="of the longest text, and of a window")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--softmax", default="float64", help="the harness's softmax_dtype: see the README")
    parser.add_argument("--out", type=Path, help="where the fixture is written (default: nowhere)")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    data = Data(args.data)
    datasets.load_dataset = data.load
    model = TimedLM(
        pretrained=str(args.model),
        dtype="float32",
        softmax_dtype=args.softmax,
        device="cpu",
        max_length=args.tokens,
        batch_size=args.batch,
    )
    found = lm_eval.simple_evaluate(
        model=model,
        tasks=args.tasks.split(","),
        num_fewshot=args.fewshot,
        limit=args.limit,
        fewshot_random_seed=SEED,
    )
    results = {**found["results"], **found.get("groups", {})}
    fixture = {
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers", "tokenizers")},
        "model": {"sha256": hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()},
        "data": data.hashes,
        "softmax": args.softmax,
        "tokens": args.tokens,
        "fewshot": args.fewshot,
        "seed": SEED,
        "limit": args.limit,
        "tasks": {
            name: {
                "metrics": metrics(results[name]),
                "items": [
                    log_likelihoods(sample) for sample in sorted(samples, key=lambda sample: sample["doc_id"])
                ],
            }
            for name, samples in found["samples"].items()
        },
        "groups": {name: metrics(result) for name, result in results.items() if name not in found["samples"]},
    }
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(fixture) + "\n", encoding="utf-8")
    print(json.dumps({"seconds": model.seconds}))


if __name__ == "__main__":
    main()
