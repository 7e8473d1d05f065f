"""The Parquet files that the tests read, as Hugging Face's `datasets` writes them: a few items with lists, objects and whole numbers.

    python make_parquet.py ../../packages/mobilequant/test/fixtures/parquet
"""

import sys
from pathlib import Path

import pyarrow.parquet as parquet
from datasets import ClassLabel, Dataset, Features, Sequence, Value

FEATURES = Features(
    {
        "question": Value("string"),
        "subject": Value("string"),
        "choices": {"text": Sequence(Value("string")), "label": Sequence(Value("string"))},
        "endings": Sequence(Value("string")),
        "answer": ClassLabel(names=["A", "B", "C", "D"]),
        "weight": Value("float64"),
        "ind": Value("int32"),
        "note": Value("string"),
    }
)


def item(i: int) -> dict:
    return {
        "question": f"Is {i} even — oder ungerade?",
        "subject": "anatomy" if i % 2 == 0 else "virology",
        "choices": {"text": ["yes", "no", f"only {i}"], "label": ["A", "B", "C"]},
        "endings": [f"it is {i}.", "it is not."],
        "answer": i % 4,
        "weight": i / 8,
        "ind": i - 3,
        "note": None if i % 3 == 0 else "ä" * i,
    }


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    items = [item(i) for i in range(7)]
    whole = Dataset.from_list(items, features=FEATURES)
    whole.to_parquet(out / "whole.parquet")
    whole.to_json(out / "whole.jsonl", force_ascii=False)
    for name, codec in [("test-00000-of-00002", "zstd"), ("test-00001-of-00002", "gzip")]:
        part = whole.select(range(0, 4) if name.startswith("test-00000") else range(4, 7))
        parquet.write_table(part.data.table if part._indices is None else part.flatten_indices().data.table, out / f"{name}.parquet", compression=codec)


if __name__ == "__main__":
    main()
