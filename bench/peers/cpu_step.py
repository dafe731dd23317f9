"""A training step on the CPU, ours beside transformers + PEFT: same weights, same tokens, same optimiser, same cores.

    python cpu_step.py make DIR                     model/, adapter/ (PEFT layout) and tokens.safetensors
    python cpu_step.py settings DIR                 median step of every setting of the peer that runs
    python cpu_step.py compare DIR --ours BENCH     interleaved steps: losses, ratio of times, peak memory

Mixtral, 8 layers, D 256, F 512, 8 experts, top-2, 8 sequences of 256 tokens, LoRA r=8 on attention and experts,
float32, AdamW. Each side is one process that takes a step when it is told to; the other one sleeps meanwhile.
BENCH is bench/step_bench. Needs torch, transformers 5 and peft.
"""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

SHAPE = dict(vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=8, num_attention_heads=8,
             num_key_value_heads=4, head_dim=32, num_local_experts=8, num_experts_per_tok=2,
             max_position_embeddings=1024, initializer_range=0.05, tie_word_embeddings=False, sliding_window=None,
             router_aux_loss_coef=0.0, output_router_logits=False)
SEQUENCES, LENGTH, STEPS = 8, 256, 20
ADAMW = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def lora_config():
    import peft
    return peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                           target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                           target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])


def make(folder):
    import peft
    import torch
    import transformers
    from safetensors.torch import save_file
    torch.manual_seed(1)
    model = transformers.MixtralForCausalLM(transformers.MixtralConfig(**SHAPE)).float()
    model.save_pretrained(os.path.join(folder, "model"))
    peft.get_peft_model(model, lora_config()).save_pretrained(os.path.join(folder, "adapter"))
    # Zipf over the vocabulary, so that there is something to learn and the experts' loads are uneven.
    weights = 1.0 / torch.arange(1, SHAPE["vocab_size"] + 1).float()
    tokens = torch.multinomial(weights, STEPS * SEQUENCES * LENGTH, replacement=True)
    save_file({"tokens": tokens.view(STEPS * SEQUENCES, LENGTH)}, os.path.join(folder, "tokens.safetensors"))


def peer(arguments):
    """The peer's process: one line in, one optimiser step, one line out."""
    import peft
    import torch
    import transformers
    from safetensors.torch import load_file
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(arguments.threads)
    print("libraries", flush=True)
    sys.stdin.readline()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.join(arguments.folder, "model"), dtype=torch.float32, attn_implementation=arguments.attention,
        experts_implementation=arguments.experts)
    model.config.use_cache = False
    model = peft.PeftModel.from_pretrained(model, os.path.join(arguments.folder, "adapter"), is_trainable=True)
    if arguments.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trainable, **{arguments.optimiser: True}, **ADAMW)
    tokens = load_file(os.path.join(arguments.folder, "tokens.safetensors"))["tokens"].view(-1, SEQUENCES, LENGTH)
    run = torch.compile(model) if arguments.compile else model
    print(json.dumps(dict(trainable=sum(p.numel() for p in trainable))), flush=True)
    for step, line in enumerate(sys.stdin):
        batch = tokens[step % len(tokens)]
        begin = time.perf_counter()
        loss = run(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = loss.item()
        print(json.dumps(dict(loss=value, seconds=time.perf_counter() - begin)), flush=True)


def memory(pid, field):
    """MiB, from the kernel's own count."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


class Side:
    def __init__(self, command, cores, threads):
        environment = dict(os.environ, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS=str(threads),
                           MKL_NUM_THREADS=str(threads), MOEGRAD_THREADS=str(threads))
        self.process = subprocess.Popen(["taskset", "-c", cores] + command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if QUIET else None,
                                        text=True, env=environment)
        self.losses, self.seconds = [], []
        if self.process.stdout.readline().strip() != "libraries":
            raise SystemExit(f"{command} did not start")
        self.libraries = memory(self.process.pid, "VmRSS")
        self.trainable = json.loads(self.ask())["trainable"]
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as clear:
            clear.write("5")  # the peak counts from here: loading does not matter

    def ask(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process ended")
        return line

    def step(self):
        reply = json.loads(self.ask())
        self.losses.append(reply["loss"])
        self.seconds.append(reply["seconds"])

    def peak(self):
        return memory(self.process.pid, "VmHWM")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peer_command(arguments, **setting):
    command = [sys.executable, os.path.abspath(__file__), "peer", arguments.folder, "--threads",
               str(arguments.threads)]
    for name, value in setting.items():
        command += [f"--{name}"] if value is True else [] if value is False else [f"--{name}", value]
    return command


def settings(arguments):
    for experts, attention, optimiser, compiled in itertools.product(
            arguments.implementations.split(","), ["sdpa", "eager"], ["fused", "foreach"], [False, True]):
        if optimiser == "foreach" and (compiled or attention == "eager"):
            continue
        name = f"{experts} {attention} {optimiser}{' compile' if compiled else ''}"
        try:
            side = Side(peer_command(arguments, experts=experts, attention=attention, optimiser=optimiser,
                                     compile=compiled), arguments.cores, arguments.threads)
            for _ in range(arguments.repeats):
                side.step()
            print(f"{name:36} {1e3 * statistics.median(side.seconds[2:]):9.1f} ms  best {1e3 * min(side.seconds):9.1f}"
                  f"  peak {side.peak():7.0f} MiB  loss {side.losses[0]:.6f}", flush=True)
            side.close()
        except (RuntimeError, SystemExit) as problem:
            print(f"{name:36} {problem}", flush=True)


def interval(values):
    """Median, and the order statistics that hold it with 95 %."""
    ordered, n = sorted(values), len(values)
    reach = int(0.98 * n ** 0.5) + 1
    return statistics.median(ordered), ordered[max(0, n // 2 - reach)], ordered[min(n - 1, n // 2 + reach)]


def compare(arguments):
    ours = Side([arguments.ours, arguments.folder], arguments.cores, arguments.threads)
    theirs = Side(peer_command(arguments, experts=arguments.experts, attention=arguments.attention,
                               optimiser=arguments.optimiser, compile=arguments.compile), arguments.cores,
                  arguments.threads)
    for repeat in range(arguments.warm + arguments.repeats):
        for side in (ours, theirs) if repeat % 2 == 0 else (theirs, ours):
            side.step()
            time.sleep(0.05)  # its threads stop spinning
    tokens = SEQUENCES * LENGTH
    difference = max(abs(a - b) for a, b in zip(ours.losses[:STEPS], theirs.losses[:STEPS]))
    print(f"trainable parameters: ours {ours.trainable}, theirs {theirs.trainable}")
    last = min(STEPS, len(ours.losses))
    print(f"losses: first {ours.losses[0]:.6f} and {theirs.losses[0]:.6f}, step {last} {ours.losses[last - 1]:.6f} and "
          f"{theirs.losses[last - 1]:.6f}; largest difference of {last} steps {difference:.2e}")
    for name, side in (("ours", ours), ("theirs", theirs)):
        times = side.seconds[arguments.warm:]
        middle, low, high = interval(times)
        print(f"{name:7} median {1e3 * middle:7.1f} ms [{1e3 * low:.1f}, {1e3 * high:.1f}], best {1e3 * min(times):7.1f}; "
              f"{tokens / middle:7.0f} tokens/s; peak {side.peak():6.0f} MiB, over its libraries "
              f"{side.peak() - side.libraries:6.0f} MiB")
    pairs = [b / a for a, b in zip(ours.seconds[arguments.warm:], theirs.seconds[arguments.warm:])]
    middle, low, high = interval(pairs)
    print(f"tokens/s, ours over theirs: {middle:.2f} [{low:.2f}, {high:.2f}] ({len(pairs)} pairs), of the best "
          f"{min(theirs.seconds) / min(ours.seconds):.2f}")
    print(f"peak memory, ours over theirs: {ours.peak() / theirs.peak():.2f}, over the libraries "
          f"{(ours.peak() - ours.libraries) / (theirs.peak() - theirs.libraries):.2f}")
    ours.close()
    theirs.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "peer", "settings", "compare"])
    parser.add_argument("folder")
    parser.add_argument("--ours", default="bench/step_bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cores", default="0,1")
    parser.add_argument("--repeats", type=int, default=24)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--implementations", default="eager,grouped_mm",
                        help="for settings; batched_mm copies the weights for every token: over 20 GiB")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--optimiser", default="fused", choices=["fused", "foreach"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    QUIET = not options.verbose
    {"make": lambda a: make(a.folder), "peer": peer, "settings": settings, "compare": compare}[options.what](options)
