"""A training step, ours beside transformers + PEFT: same weights, same adapter, same tokens, same optimiser, one machine.

    python moe_step.py make DIR                     model/, adapter/ (PEFT layout) and tokens.safetensors
    python moe_step.py settings DIR                 median step of every setting of the peer that runs
    python moe_step.py compare DIR --ours BENCH     interleaved steps: losses, ratio of times, peak memory

BENCH is bench/step_bench. Each side is one process that takes steps when it is told to; the other one sleeps meanwhile.
On a GPU (--device cuda) both models lie there at once, nothing else may, and memory is what nvidia-smi sees each side take.
--shape small: Mixtral of 8 layers, D 256, F 512, 8 x 256 tokens, float32, for a CPU; mixtral4: four layers of Mixtral-8x7B,
8 x 512 tokens, bfloat16, for a GPU; tiny: two layers for a check of this script. LoRA r=8 on attention and experts, AdamW,
no dropout, no clipping. In bfloat16 the peer's adapter is float32 under autocast, as ours has float32 masters.
Needs torch, transformers 5 and peft; accelerate on a GPU.
"""
import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import time

from step_side import Side, gpu_memory

SHAPES = {
    "small": dict(vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=8, num_attention_heads=8,
                  num_key_value_heads=4, head_dim=32, num_local_experts=8, initializer_range=0.05),
    "mixtral4": dict(vocab_size=32000, hidden_size=4096, intermediate_size=14336, num_hidden_layers=4,
                     num_attention_heads=32, num_key_value_heads=8, head_dim=128, num_local_experts=8,
                     initializer_range=0.02),
    "tiny": dict(vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, head_dim=16, num_local_experts=4, initializer_range=0.05),
}
LENGTHS = {"small": 256, "mixtral4": 512, "tiny": 32}
COMMON = dict(num_experts_per_tok=2, max_position_embeddings=1024, tie_word_embeddings=False, sliding_window=None,
              router_aux_loss_coef=0.0, output_router_logits=False)
SEQUENCES, STEPS = 8, 20
ADAMW = dict(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def lora_config():
    import peft
    return peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                           target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                           target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])


def make(arguments):
    import peft
    import torch
    import transformers
    from safetensors.torch import save_file
    torch.manual_seed(1)
    shape, length = SHAPES[arguments.shape], LENGTHS[arguments.shape]
    config = transformers.MixtralConfig(**shape, **COMMON)
    with torch.device(arguments.device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, arguments.dtype))
    model.save_pretrained(os.path.join(arguments.folder, "model"), max_shard_size="4GB")
    peft.get_peft_model(model, lora_config()).save_pretrained(os.path.join(arguments.folder, "adapter"))
    # Zipf over the vocabulary, so that there is something to learn and the experts' loads are uneven.
    weights = 1.0 / torch.arange(1, shape["vocab_size"] + 1).float()
    tokens = torch.multinomial(weights, STEPS * SEQUENCES * length, replacement=True)
    save_file({"tokens": tokens.view(STEPS * SEQUENCES, length)}, os.path.join(arguments.folder, "tokens.safetensors"))


def load_peer(arguments):
    import peft
    import torch
    import transformers
    where = dict(device_map={"": 0}) if arguments.device == "cuda" else {}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.join(arguments.folder, "model"), dtype=getattr(torch, arguments.dtype),
        attn_implementation=arguments.attention, experts_implementation=arguments.experts, **where)
    model.config.use_cache = False
    model = peft.PeftModel.from_pretrained(model, os.path.join(arguments.folder, "adapter"), is_trainable=True,
                                           autocast_adapter_dtype=arguments.adapters == "float32")
    if arguments.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train()


@contextlib.contextmanager
def best_kernels(arguments):
    """On a GPU: cuDNN's attention before the others; bf16 products for a float32 adapter."""
    if arguments.device == "cpu":
        yield
        return
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    mixed = arguments.dtype == "bfloat16" and arguments.adapters == "float32"
    with sdpa_kernel(order, set_priority=True), torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        yield


def peer(arguments):
    """The peer's process: one line with a number in, as many optimiser steps, one line out."""
    import torch
    import transformers
    from safetensors.torch import load_file
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    print("libraries", flush=True)
    sys.stdin.readline()
    model = load_peer(arguments)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, lr=arguments.rate, **{arguments.optimiser: True}, **ADAMW)
    tokens = load_file(os.path.join(arguments.folder, "tokens.safetensors"))["tokens"].to(arguments.device)
    batches = itertools.cycle(tokens.split(SEQUENCES))
    run = torch.compile(model) if arguments.compile else model
    if arguments.device == "cuda":
        torch.cuda.empty_cache()  # what loading took does not matter
        torch.cuda.reset_peak_memory_stats()

    def step():
        batch = next(batches)
        with best_kernels(arguments):
            loss = run(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    print(json.dumps(dict(trainable=sum(p.numel() for p in trainable))), flush=True)
    for line in sys.stdin:
        begin = time.perf_counter()
        losses = [loss.item() for loss in [step() for _ in range(int(line))]]
        reply = dict(losses=losses, seconds=time.perf_counter() - begin)
        if arguments.device == "cuda":
            reply["allocated"] = torch.cuda.max_memory_allocated() / 2**20
        print(json.dumps(reply), flush=True)


def side_flags(arguments):
    return ["--device", arguments.device, "--dtype", arguments.dtype, "--rate", str(arguments.rate)]


def peer_side(arguments, **setting):
    command = [sys.executable, os.path.abspath(__file__), "peer", arguments.folder, "--shape", arguments.shape,
               "--threads", str(arguments.threads)] + side_flags(arguments)
    for name, value in setting.items():
        command += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", value]
    return Side(arguments, command)


def peer_settings(arguments):
    if arguments.device == "cuda":  # batched_mm copies the weights for every token; eager experts take 1.7 times as long
        for compiled, adapters in ((False, "float32"), (True, "float32"), (False, "bfloat16"), (True, "bfloat16")):
            yield dict(experts="grouped_mm", attention="sdpa", optimiser="fused", compile=compiled, adapters=adapters)
        return
    for experts, attention, optimiser, compiled in itertools.product(
            arguments.implementations.split(","), ["sdpa", "eager"], ["fused", "foreach"], [False, True]):
        if optimiser == "fused" or not (compiled or attention == "eager"):
            yield dict(experts=experts, attention=attention, optimiser=optimiser, compile=compiled)


def settings(arguments):
    for setting in peer_settings(arguments):
        name = " ".join(key if value is True else value for key, value in setting.items() if value)
        try:
            side = peer_side(arguments, **setting)
            for _ in range(arguments.repeats):
                side.step()
            print(f"{name:40} {1e3 * statistics.median(side.seconds):9.1f} ms  best {1e3 * min(side.seconds):9.1f}"
                  f"  peak {side.peak():7.0f} MiB  loss {side.losses[0]:.6f}", flush=True)
            side.close()
        except RuntimeError as problem:
            print(f"{name:40} {problem}", flush=True)


def interval(values):
    """Median, and the order statistics that hold it with 95 %."""
    ordered, n = sorted(values), len(values)
    reach = int(0.98 * n ** 0.5) + 1
    return statistics.median(ordered), ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]


def print_losses(ours, theirs):
    count = min(STEPS, len(ours.losses), len(theirs.losses))
    difference = max(abs(a - b) for a, b in zip(ours.losses[:count], theirs.losses[:count]))
    print(f"trainable parameters: ours {ours.trainable}, theirs {theirs.trainable}")
    for name, side in (("ours", ours), ("theirs", theirs)):
        print(f"losses, {name:7}", " ".join(f"{loss:.5f}" for loss in side.losses[:count]))
    print(f"largest difference of {count} steps {difference:.2e}")
    return difference


def print_memory(ours, theirs):
    print(f"peak memory, ours over theirs: {ours.peak() / theirs.peak():.2f}")
    if theirs.allocated:
        print(f"  all that ours takes over the tensors that theirs allocated ({theirs.allocated:.0f} MiB): "
              f"{ours.peak() / theirs.allocated:.2f}")
        growth = gpu_memory() - theirs.gpu_before - theirs.gpu_taken
        if growth > 0:
            print(f"  after the warm steps both together took {growth:.0f} MiB more")
    else:
        print("  over the libraries: "
              f"{(ours.peak() - ours.libraries) / (theirs.peak() - theirs.libraries):.2f}")


def compare(arguments):
    ours = Side(arguments, [arguments.ours, arguments.folder] + side_flags(arguments))
    theirs = peer_side(arguments, experts=arguments.experts, attention=arguments.attention,
                       optimiser=arguments.optimiser, compile=arguments.compile, adapters=arguments.adapters,
                       checkpointing=arguments.checkpointing)
    for repeat in range(arguments.repeats):
        for side in (ours, theirs) if repeat % 2 == 0 else (theirs, ours):
            side.step()
            time.sleep(0.05)  # its threads stop spinning
    tokens = SEQUENCES * LENGTHS[arguments.shape]
    difference = print_losses(ours, theirs)
    for name, side in (("ours", ours), ("theirs", theirs)):
        middle, low, high = interval(side.seconds)
        print(f"{name:7} median {1e3 * middle:7.1f} ms [{1e3 * low:.1f}, {1e3 * high:.1f}], best "
              f"{1e3 * min(side.seconds):7.1f}; {tokens / middle:7.0f} tokens/s; peak {side.peak():6.0f} MiB")
    pairs = [b / a for a, b in zip(ours.seconds, theirs.seconds)]
    middle, low, high = interval(pairs)
    print(f"tokens/s, ours over theirs: {middle:.2f} [{low:.2f}, {high:.2f}] ({len(pairs)} pairs), of the best "
          f"{min(theirs.seconds) / min(ours.seconds):.2f}")
    print_memory(ours, theirs)
    print(json.dumps(dict(group="step", shape=arguments.shape, ratio=middle, low=low, high=high,
                          memory=ours.peak() / theirs.peak(), loss_difference=difference)))
    ours.close()
    theirs.close()
    if arguments.tolerance and difference > arguments.tolerance:
        raise SystemExit(f"the losses differ by more than {arguments.tolerance}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "peer", "settings", "compare"])
    parser.add_argument("folder")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--ours", default="bench/step_bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cores", default="0,1", help="of both sides, on the CPU")
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--warm", type=int, default=3, help="turns of each side before the first that counts")
    parser.add_argument("--turn", type=int, default=1, help="steps that a side takes at a time")
    parser.add_argument("--tolerance", type=float, default=0, help="fails where the losses differ by more")
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--implementations", default="eager,grouped_mm",
                        help="for settings; batched_mm copies the weights for every token: over 20 GiB")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--optimiser", default="fused", choices=["fused", "foreach"])
    parser.add_argument("--adapters", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    options = parse()
    dict(make=make, peer=peer, settings=settings, compare=compare)[options.what](options)
