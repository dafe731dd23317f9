"""PyTorch's fused attention at the shapes of cuda_floors_bench: causal, 32 query heads, 8 key-value heads of 128, bfloat16.

    python attention_peer.py [--ours FILE] [--device cuda|cpu] [--tiny]

Prints TFLOP/s of each backend that runs, forward and backward (2 B H S^2 head flops, times 2.5 backward), and as JSON lines.
With --ours, the output of `cuda_floors_bench --json` taken in the same minute: our rate over that of the best backend; the
floor of the project is 0.4.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = {"1x8192": (1, 8192), "2x4096": (2, 4096), "16x512": (16, 512)}
HEADS, KV_HEADS, HEAD = 32, 8, 128
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def seconds(run, device, rounds):
    """Median over rounds of several runs with one wait."""
    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def together(count):
        wait()
        begin = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        return (time.perf_counter() - begin) / count

    together(3)
    count = max(1, min(400, int(4e-3 / together(3)) + 1))
    return statistics.median(together(count) for _ in range(rounds))


def measure(backend, sequences, length, arguments):
    def normal(heads):
        return torch.randn(sequences, heads, length, HEAD, device=arguments.device, dtype=torch.bfloat16,
                           requires_grad=True)
    q, k, v, dy = normal(HEADS), normal(KV_HEADS), normal(KV_HEADS), normal(HEADS).detach()

    def forward():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    with sdpa_kernel(backend):
        with torch.no_grad():
            once = seconds(forward, arguments.device, arguments.rounds)
        y = forward()
        back = seconds(lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True), arguments.device,
                       arguments.rounds)
    flops = 2 * sequences * HEADS * HEAD * length**2
    return {"forward": flops / once * 1e-12, "backward": 2.5 * flops / back * 1e-12}


def our_rates(path):
    rates = {}
    with open(path) as lines:
        for line in lines:
            if line.startswith("{") and (record := json.loads(line)).get("group") == "attention":
                rates[record["what"]] = record["tflops"]
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    shapes = {"2x32": (2, 32)} if arguments.tiny else SHAPES
    backends = BACKENDS if arguments.device == "cuda" else {"math": SDPBackend.MATH}
    best = {}
    for shape, (sequences, length) in shapes.items():
        for name, backend in backends.items():
            try:
                rates = measure(backend, sequences, length, arguments)
            except RuntimeError as problem:
                print(f"{shape} {name}: {str(problem).splitlines()[0]}")
                continue
            print(f"attention {shape:8} {name:6} forward {rates['forward']:7.1f}  backward {rates['backward']:7.1f} TFLOP/s")
            for way, rate in rates.items():
                print(json.dumps(dict(group="attention peer", what=f"{shape} {way}", backend=name, tflops=rate)))
                best[f"{shape} {way}"] = max(best.get(f"{shape} {way}", 0), rate)
    for what, ours in (our_rates(arguments.ours) if arguments.ours else {}).items():
        if what in best:
            share = ours / best[what]
            print(f"attention {what:18} ours {ours:7.1f}, theirs {best[what]:7.1f} TFLOP/s: {share:.2f} "
                  f"(floor 0.40{', MISSED' if share < 0.4 else ''})")


main()
