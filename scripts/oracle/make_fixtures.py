"""Writes the fixtures of packages/core/test/architectures.test.ts with the transformers library.

For each case of cases.py a folder with a model directory and what transformers computes from it, in float32, eager
attention, one thread:

    config.json            as save_pretrained writes it, or as an older version would have (Case.written)
    model.safetensors      float32, Hugging Face's names
    expected.safetensors   input_ids int32 [2, tokens], logits [2, tokens, vocab], hidden.0 (input of the first layer),
                           hidden.N (output of layer N), hidden.norm (behind the final norm), all [2, tokens, hidden]

and, beside the folders, manifest.json: the versions, and by how much each switch of a case moves the logits; and
defaults.json: configs that say as little as they may, and the same with every key that transformers fills in.
"""

from __future__ import annotations

import argparse
import inspect
import json
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import torch
import transformers
from cases import CASES, Case, Switch
from safetensors.torch import save_file

FIXTURES = Path(__file__).resolve().parents[2] / "packages" / "core" / "test" / "fixtures"
TOKENS = 24
MAJOR = int(transformers.__version__.split(".")[0])


def config_of(case: Case, switch: Switch | None = None) -> transformers.PretrainedConfig:
    # a copy: transformers writes into nested dictionaries
    values = json.loads(json.dumps({**case.config, **(switch.config if switch else {})}))
    return transformers.AutoConfig.for_model(case.model_type, **values)


def build(config: transformers.PretrainedConfig) -> torch.nn.Module:
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    return model.eval()


def fill(model: torch.nn.Module, seed: int) -> None:
    """Random values for all parameters: none is what transformers initialises it to, and some channels are large."""
    generator = torch.Generator().manual_seed(seed)
    factor = model.config.hidden_size**-0.5 if model.config.model_type.startswith("gemma") else 1.0
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parent = model.get_submodule(name.rpartition(".")[0])
        if name.endswith("embed_tokens.weight"):
            value = noise * factor
            value[:, 5] *= 6
            value[:, 19] *= 4
        elif parameter.dim() == 2:
            value = noise * (2.0 if "q_proj" in name or "k_proj" in name else 1.0) / parameter.shape[1] ** 0.5
            if any(part in name for part in ("o_proj", "dense", "down_proj", "fc2")):
                value[5] *= 4
        elif name.endswith(".bias"):
            value = 0.5 * noise
        else:  # a norm: around what it starts from, 1 or (gemma) 0
            assert "norm" in name, name
            value = parent.weight.data.mean().round() + 0.3 * noise
        # as bfloat16 has it, so that the files compress
        parameter.data = value.to(torch.bfloat16).float()


def run(model: torch.nn.Module, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits and hidden states, seen by hooks: `hidden_states` leaves out the last layer's own output."""
    seen: dict[str, torch.Tensor] = {}
    first = lambda value: (value[0] if isinstance(value, tuple) else value).detach().clone()  # noqa: E731

    def before_first(_: object, args: tuple, kwargs: dict) -> None:
        seen["hidden.0"] = first(args if args else kwargs["hidden_states"])

    hooks = [model.model.layers[0].register_forward_pre_hook(before_first, with_kwargs=True)]
    final = model.model.final_layernorm if hasattr(model.model, "final_layernorm") else model.model.norm
    for name, module in [(f"hidden.{i + 1}", layer) for i, layer in enumerate(model.model.layers)] + [("hidden.norm", final)]:
        hooks.append(module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: first(output)})))
    with torch.no_grad():
        output = model(ids, use_cache=False, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    expected = [*(seen[f"hidden.{i}"] for i in range(len(model.model.layers))), seen["hidden.norm"]]
    assert len(output.hidden_states) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(output.hidden_states, expected))
    return {"logits": output.logits.detach(), **seen}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def turned_off(case: Case, switch: Switch, state: dict[str, torch.Tensor], ids: torch.Tensor, seed: int) -> torch.Tensor:
    model = build(config_of(case, switch))
    fill(model, seed)  # what the other config has and the case has not
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    if switch.model:
        switch.model(model)
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def write(case: Case) -> dict:
    seed = zlib.crc32(case.name.encode())
    model = build(config_of(case))
    fill(model, seed)
    ids = torch.randint(0, model.config.vocab_size, (2, TOKENS), generator=torch.Generator().manual_seed(seed + 1))
    result = run(model, ids)
    assert all(torch.isfinite(value).all() for value in result.values())

    folder = FIXTURES / case.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(Path(temporary) / name, folder / name)
    if case.written:
        config = {**json.loads((folder / "config.json").read_text()), **case.written}
        config = {key: value for key, value in sorted(config.items()) if case.written.get(key, 0) is not None}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    again = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    assert torch.equal(run(again.eval(), ids)["logits"], result["logits"]), "the directory says something else"
    tensors = {name: value.contiguous() for name, value in result.items()}
    save_file({"input_ids": ids.to(torch.int32), **tensors}, folder / "expected.safetensors")

    switches = {}
    state = model.state_dict()
    for switch in case.switches:
        moved = relative(turned_off(case, switch, state, ids, seed + 2), result["logits"])
        switches[switch.name] = float(f"{moved:.1e}")
        print(f"  {switch.name}: without it the logits move by {moved:.1e}")
        if not moved > switch.least:
            sys.exit(f"{case.name}: expected '{switch.name}' to move the logits by more than {switch.least}, got {moved:.1e}.")
    return {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "switches": switches}


SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
NO_SAY = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "initializer_range", "use_cache", "kwargs")


def defaults() -> list[dict]:
    """What absent keys mean: `given` and `full` say the same model."""
    pairs = []
    types = sorted({case.model_type for case in CASES})
    without_heads = [{"model_type": name, "num_key_value_heads": None} for name in ("llama", "mistral", "phi", "qwen2", "qwen3")]
    windows = [{"model_type": name, "use_sliding_window": True} for name in ("qwen2", "qwen3")]
    pattern = {"model_type": "gemma3_text", "sliding_window_pattern": 4}
    for say in [*({"model_type": name} for name in types), *without_heads, *windows, pattern]:
        values = {key: value for key, value in say.items() if key != "model_type"}
        config = transformers.AutoConfig.for_model(say["model_type"], **values)
        keys = set(inspect.signature(type(config).__init__).parameters) - set(NO_SAY)
        full = {key: value for key, value in sorted(config.to_dict().items()) if key in keys}
        full = {key: value for key, value in full.items() if not key.endswith("token_id")}
        sizes = {key: full[key] for key in SIZES}
        pairs.append({"given": {**say, **sizes}, "full": {"model_type": say["model_type"], **full}})
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="cases; all that this version of transformers writes by default")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    file = FIXTURES / "manifest.json"
    manifest = json.loads(file.read_text()) if file.exists() else {}
    for case in CASES:
        if case.transformers != MAJOR or (names and case.name not in names):
            continue
        print(case.name)
        manifest[case.name] = write(case)
        size = sum(path.stat().st_size for path in (FIXTURES / case.name).iterdir())
        print(f"  {size / 1000:.0f} kB")
    if MAJOR == 4:
        lines = ",\n".join(json.dumps(pair) for pair in defaults())
        (FIXTURES / "defaults.json").write_text(f"[\n{lines}\n]\n")
    known = [case.name for case in CASES]
    file.write_text(json.dumps({name: manifest[name] for name in known if name in manifest}, indent=2) + "\n")


if __name__ == "__main__":
    main()
