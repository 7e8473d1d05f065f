"""The architectures that the decoder must match: one small config each, and what must matter in it.

A case names a config of transformers and its switches. A switch says how to turn off what the case is there for; the
script refuses a case whose logits do not move by more than `least` when that is done, relative to the largest logit: a
fixture that a decoder without the feature would pass shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Model = torch.nn.Module


@dataclass(frozen=True)
class Switch:
    """A feature, turned off by other config values, by a change of the built model, or both."""

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    model: Callable[[Model], None] | None = None
    least: float = 1e-2


@dataclass(frozen=True)
class Case:
    name: str
    model_type: str
    config: Mapping[str, Any]
    switches: tuple[Switch, ...]
    # keys of config.json as other versions wrote them; None leaves a key out
    written: Mapping[str, Any] = field(default_factory=dict)
    # major version of transformers that writes the case: 5 has another form of config.json
    transformers: int = 4


def without_bias(*names: str) -> Callable[[Model], None]:
    """Zeroes the biases of all modules with these names."""

    def change(model: Model) -> None:
        found = [m for path, m in model.named_modules() if path.rsplit(".", 1)[-1] in names and m.bias is not None]
        assert found, names
        for module in found:
            module.bias.data.zero_()

    return change


def without(*names: str) -> Callable[[Model], None]:
    """Replaces modules by the identity."""

    def change(model: Model) -> None:
        found = [(m, name) for m in model.modules() for name, _ in m.named_children() if name in names]
        assert found, names
        for module, name in found:
            setattr(module, name, torch.nn.Identity())

    return change


def norms_from_zero(model: Model) -> None:
    """Gemma's norms multiply by 1 + w; this makes it w."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.weight.data -= 1


def unscaled_embedding(model: Model) -> None:
    """Takes back gemma's factor of the embedding, and leaves the tied head as it is."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data.clone())
    model.model.embed_tokens.weight = torch.nn.Parameter(
        model.model.embed_tokens.weight.data / model.config.hidden_size**0.5
    )


def scaled_locally(model: Model) -> None:
    """gemma 3 with its rope scaling on the sliding layers too."""
    model.model.rotary_emb_local.inv_freq /= model.config.rope_scaling["factor"]


def exact_gelu(model: Model) -> None:
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.GELU()


SMALL = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
GEMMA = {**SMALL, "num_key_value_heads": 1, "head_dim": 24}
GEMMA2 = {**SMALL, "head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 8, "rms_norm_eps": 0.05}
GEMMA3 = {
    **SMALL,
    "num_hidden_layers": 3,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "query_pre_attn_scalar": 20,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
STABLELM = {
    **SMALL,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "use_qkv_bias": True,
    "partial_rotary_factor": 0.25,  # 4 of 16 channels
    "layer_norm_eps": 0.05,
}
PHI = {
    **SMALL,
    "num_key_value_heads": 4,
    "hidden_size": 40,  # heads of 10 channels, 4 of them rotated
    "partial_rotary_factor": 0.4,
}

GEMMA_SWITCHES = (
    Switch("1 + w in the norms", model=norms_from_zero),
    Switch("embedding factor", model=unscaled_embedding),
)
GEMMA3_SWITCHES = (
    *GEMMA_SWITCHES,
    Switch("sliding window", {"sliding_window": 128}),
    Switch("kinds of layers", {"layer_types": ["full_attention"] * 3}),
    Switch("norms of queries and keys", model=without("q_norm", "k_norm")),
    Switch("scale of the scores", {"query_pre_attn_scalar": 16}),
    Switch("norms behind attention and MLP", model=without("post_attention_layernorm", "post_feedforward_layernorm")),
)

CASES: tuple[Case, ...] = (
    Case(
        "llama",
        "llama",
        {**SMALL, "rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3", **LLAMA3}, "rms_norm_eps": 0.05},
        (
            Switch("epsilon", {"rms_norm_eps": 1e-6}),
            Switch("llama 3 rope scaling", {"rope_scaling": None}),
            Switch("rope theta", {"rope_theta": 10000.0}),
        ),
    ),
    Case(
        "llama-bias",
        "llama",
        {**SMALL, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        (
            Switch("attention biases", {"attention_bias": False}),
            Switch("MLP biases", {"mlp_bias": False}),
            Switch("bias of o_proj", model=without_bias("o_proj")),
        ),
    ),
    Case(
        "llama-linear-rope",
        "llama",
        {**SMALL, "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        (Switch("linear rope scaling", {"rope_scaling": None}),),
    ),
    Case(
        "gemma",
        "gemma",
        {**GEMMA, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"},
        (*GEMMA_SWITCHES, Switch("activation", {"hidden_act": "silu"})),
    ),
    Case(
        "gemma2",
        "gemma2",
        {**GEMMA2, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0},
        (
            Switch("epsilon", {"rms_norm_eps": 1e-6}),
            *GEMMA_SWITCHES,
            Switch("cap of the scores", {"attn_logit_softcapping": None}),
            Switch("cap of the logits", {"final_logit_softcapping": None}),
            Switch("sliding window", {"sliding_window": 128}),
            Switch("kinds of layers", {"layer_types": ["full_attention", "sliding_attention"]}),
            Switch("scale of the scores", {"query_pre_attn_scalar": 12}),
            Switch(
                "norms behind attention and MLP",
                model=without("post_attention_layernorm", "post_feedforward_layernorm"),
            ),
        ),
        written={"layer_types": None, "cache_implementation": "hybrid"},
    ),
    Case(
        "gemma3",
        "gemma3_text",
        {**GEMMA3, "rope_theta": 1000.0, "rope_local_base_freq": 10.0},
        (
            *GEMMA3_SWITCHES,
            Switch("rope theta of sliding layers", {"rope_local_base_freq": 1000.0}),
            Switch("rope theta of full layers", {"rope_theta": 10.0}),
        ),
    ),
    Case(
        "gemma3-linear-rope",
        "gemma3_text",
        {**GEMMA3, "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "final_logit_softcapping": 5.0},
        (
            *GEMMA3_SWITCHES,
            Switch("linear rope scaling", {"rope_scaling": None}),
            Switch("only of full layers", model=scaled_locally),
            Switch("cap of the logits", {"final_logit_softcapping": None}),
        ),
        # as before there were layer_types
        written={"layer_types": None, "sliding_window_pattern": 3},
    ),
    Case(
        "stablelm",
        "stablelm",
        STABLELM,
        (
            Switch("epsilon", {"layer_norm_eps": 1e-5}),
            Switch("query, key and value biases", {"use_qkv_bias": False}),
            Switch("partial rotary embedding", {"partial_rotary_factor": 0.5}),
            Switch("biases of layers' norms", model=without_bias("input_layernorm", "post_attention_layernorm")),
            Switch("bias of the final norm", model=without_bias("norm")),
        ),
        written={"partial_rotary_factor": None},
    ),
    Case(
        "stablelm-parallel",
        "stablelm",
        {**STABLELM, "num_key_value_heads": 1, "use_qkv_bias": False, "use_parallel_residual": True},
        (
            Switch("parallel residual", {"use_parallel_residual": False}),
            Switch("partial rotary embedding", {"partial_rotary_factor": 0.5}),
        ),
    ),
    Case(
        "mistral",
        "mistral",
        {**SMALL, "head_dim": 12, "sliding_window": 8},
        (Switch("sliding window", {"sliding_window": None}),),
    ),
    Case(
        "qwen2",
        "qwen2",
        {**SMALL, "tie_word_embeddings": True},
        (Switch("query, key and value biases", model=without_bias("q_proj", "k_proj", "v_proj")),),
        # as on the hub: a window that is not used
        written={"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1, "layer_types": None},
    ),
    Case(
        "qwen2-window",
        "qwen2",
        {**SMALL, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        (
            Switch("sliding window", {"use_sliding_window": False}),
            Switch("full attention of the first layer", {"max_window_layers": 0}),
        ),
    ),
    Case(
        "qwen3",
        "qwen3",
        {**SMALL, "head_dim": 16, "rope_theta": 1000000.0, "rms_norm_eps": 0.05},
        (
            Switch("epsilon", {"rms_norm_eps": 1e-6}),
            Switch("norms of queries and keys", model=without("q_norm", "k_norm")),
            Switch("rope theta", {"rope_theta": 10000.0}),
        ),
    ),
    Case(
        "phi",
        "phi",
        PHI,
        (
            Switch("partial rotary embedding", {"partial_rotary_factor": 0.8}),
            Switch("activation", {"hidden_act": "silu"}),
            Switch("query, key and value biases", model=without_bias("q_proj", "k_proj", "v_proj")),
            Switch("bias of the attention's output", model=without_bias("dense")),
            Switch("biases of the MLP", model=without_bias("fc1", "fc2")),
            Switch("biases of the norms", model=without_bias("input_layernorm", "final_layernorm")),
            Switch("bias of the head", model=without_bias("lm_head")),
        ),
    ),
    # transformers 5: rope_parameters, and its reading of gemma's first configs
    Case(
        "llama-v5",
        "llama",
        {**SMALL, "rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, **LLAMA3}},
        (Switch("llama 3 rope scaling", {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),),
        transformers=5,
    ),
    Case(
        # the first checkpoints say "gelu" and mean the tanh form; transformers 4.57 takes them at their word, 5 does not
        "gemma-legacy-v5",
        "gemma",
        {**GEMMA, "hidden_act": "gelu"},
        (
            *GEMMA_SWITCHES,
            Switch("tanh form of GELU", model=exact_gelu, least=2e-4),
        ),
        written={"hidden_act": "gelu"},
        transformers=5,
    ),
    Case(
        "gemma3-v5",
        "gemma3_text",
        {
            **GEMMA3,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
            },
        },
        (
            *GEMMA3_SWITCHES,
            Switch(
                "linear rope scaling",
                {
                    "rope_parameters": {
                        "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
                    }
                },
            ),
            Switch(
                "rope theta of sliding layers",
                {
                    "rope_parameters": {
                        "full_attention": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 8.0},
                        "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
                    }
                },
            ),
        ),
        transformers=5,
    ),
    Case(
        "stablelm-v5",
        "stablelm",
        STABLELM,
        (Switch("partial rotary embedding", {"partial_rotary_factor": 0.5}),),
        transformers=5,
    ),
)
