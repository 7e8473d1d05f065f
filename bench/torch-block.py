"""The block of llama-block.ts in PyTorch, eagerly, as the reference implementation computes it: straight-through rounding,
autograd for the rest, no batch axis. Prints {"forward": ms, "vjp": ms}, the best of several rounds.

    python torch-block.py THREADS
"""
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
TOKENS, HIDDEN, HEADS, KV, DIM, FFN = 512, 576, 9, 3, 64, 1536
GROUP = HEADS // KV
WIDE = {"input_norm.in", "post_norm.in", "scores", "probabilities", "o.out", "w2.out"}

shapes = {"q": (HEADS * DIM, HIDDEN), "k": (KV * DIM, HIDDEN), "v": (KV * DIM, HIDDEN), "o": (HIDDEN, HEADS * DIM),
          "w1": (FFN, HIDDEN), "w3": (FFN, HIDDEN), "w2": (HIDDEN, FFN)}
weights = {name: torch.randn(shape) / math.sqrt(shape[1]) for name, shape in shapes.items()}
sites = ["input_norm.in", "input_norm.out", "q.out", "k.out", "v.out", "queries", "keys", "values", "scores", "probabilities",
         "mixed", "o.out", "post_norm.in", "post_norm.out", "w1.out", "w3.out", "sigmoid", "silu", "product", "w2.out"]

params = {"qkv": torch.ones(HIDDEN), "fc1": torch.ones(HIDDEN), "fc2": torch.ones(FFN)}
for name, (rows, _) in shapes.items():
    params[name + ".upper"] = torch.full((rows, 1), 4.0)
    params[name + ".lower"] = torch.full((rows, 1), 4.0)
for site in sites:
    levels = 2 ** (16 if site in WIDE else 8) - 1
    unit = site in ("probabilities", "sigmoid")
    params[site + ".scale"] = torch.tensor((1.0 if unit else 8.0) / levels)
    params[site + ".offset"] = torch.tensor(0.0 if unit else float(round(levels / 2)))
for parameter in params.values():
    parameter.requires_grad_(True)

mask = torch.full((TOKENS, TOKENS), torch.finfo(torch.float32).min).triu(1)
angle = torch.arange(TOKENS)[:, None] / 10000 ** (torch.arange(0, DIM, 2) / DIM)
cos, sin = torch.cat([angle, angle], 1).cos(), torch.cat([angle, angle], 1).sin()


def straight_through(x):
    return x + (x.round() - x).detach()


def fake_quantize(x, scale, offset, bits):
    return ((straight_through(x / scale) + offset).clamp(0, 2**bits - 1) - offset) * scale


def activation(site, x):
    return fake_quantize(x, params[site + ".scale"], params[site + ".offset"], 16 if site in WIDE else 8)


def weight(name, w):
    top = torch.sigmoid(params[name + ".upper"]) * w.amax(1, keepdim=True)
    bottom = torch.sigmoid(params[name + ".lower"]) * w.amin(1, keepdim=True)
    scale = ((top - bottom) / 15).clamp(1e-5, 1e6)
    return fake_quantize(w, scale, -(bottom / scale).round().detach(), 4)


def linear(name, x, w):
    return activation(name + ".out", F.linear(x, weight(name, w)))


def norm(name, x, w):
    return activation(name + ".out", w * math.sqrt(HIDDEN) * F.normalize(activation(name + ".in", x), dim=-1, eps=1e-12))


def rotary(x):
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


def heads(x, count):
    return x.view(TOKENS, count, DIM).transpose(0, 1)


def block(x):
    qkv, fc1, fc2 = params["qkv"], params["fc1"], params["fc2"]
    h = norm("input_norm", x, 1 / qkv)
    queries = activation("queries", rotary(heads(linear("q", h, weights["q"] * qkv), HEADS)))
    keys = activation("keys", rotary(heads(linear("k", h, weights["k"] * qkv), KV))).repeat_interleave(GROUP, 0)
    values = activation("values", heads(linear("v", h, weights["v"] * qkv), KV)).repeat_interleave(GROUP, 0)
    scores = activation("scores", queries @ keys.transpose(1, 2)) / math.sqrt(DIM)
    probabilities = activation("probabilities", torch.softmax(scores + mask, -1))
    mixed = activation("mixed", probabilities @ values).transpose(0, 1).reshape(TOKENS, HEADS * DIM)
    middle = x + linear("o", mixed, weights["o"])
    h = norm("post_norm", middle, 1 / fc1)
    gate = linear("w1", h, weights["w1"] * fc1)
    up = linear("w3", h, weights["w3"] * fc1 / fc2[:, None])
    silu = activation("silu", gate * activation("sigmoid", torch.sigmoid(gate)))
    return middle + linear("w2", activation("product", silu * up), weights["w2"] * fc2)


x = torch.randn(TOKENS, HIDDEN, requires_grad=True)
dy = torch.randn(TOKENS, HIDDEN)


def forward():
    with torch.no_grad():
        block(x)


def vjp():
    torch.autograd.grad(block(x), [*params.values(), x], dy)


best = {"forward": math.inf, "vjp": math.inf}
for _ in range(9):
    for name, run in (("forward", forward), ("vjp", vjp)):
        start = time.perf_counter()
        run()
        best[name] = min(best[name], (time.perf_counter() - start) * 1000)
print(json.dumps(best))
