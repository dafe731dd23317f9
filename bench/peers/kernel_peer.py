"""The peer of `moegrad bench`: PyTorch's side of its jobs, a line at a time.

    python kernel_peer.py [--device cuda|cpu] [--dtype bfloat16|float32]

    make JOB {"kind": ..., settings}     ok TEXT         TEXT: the setting that was the fastest
    run JOB COUNT                        seconds S       of COUNT runs, after one that does not count
    drop                                 ok              jobs and memory are gone
    anything that fails                  error TEXT

It greets with "ok" and its versions, and ends with its input. Weights and inputs are normal and random; the experts that
tokens take come from a file of int32 (`routing`), so that both sides route alike. Only "step" needs more than torch
(step_peer.py: transformers and peft).
"""
import argparse
import gc
import json
import os
import sys
import time


class Place:
    """Where jobs run, and the weights that several of them share."""

    def __init__(self, device, dtype):
        import torch
        self.torch, self.device, self.dtype, self.shared = torch, device, getattr(torch, dtype), {}

    def normal(self, *shape, deviation=1.0, grad=False):
        values = self.torch.randn(shape, device=self.device, dtype=self.dtype) * deviation
        return values.requires_grad_(grad)

    def once(self, key, make):
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def wait(self):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def seconds(self, run, count):
        run()
        self.wait()
        begin = time.perf_counter()
        for _ in range(count):
            run()
        self.wait()
        return time.perf_counter() - begin

    def give_back(self):
        gc.collect()
        if self.device == "cuda":
            self.torch.cuda.empty_cache()


def product(place, s):
    x, w = place.normal(s["side"], s["side"]), place.normal(s["side"], s["side"])
    return lambda: x @ w.t(), "torch.matmul"


def adamw(place, s):
    torch = place.torch
    weight = torch.randn(s["numbers"], device=place.device, requires_grad=True)
    weight.grad = torch.randn_like(weight)
    optimiser = torch.optim.AdamW([weight], lr=1e-4, weight_decay=0.01, fused=True)
    return optimiser.step, "fused"


def read_routing(place, s):
    torch = place.torch
    with open(s["routing"], "rb") as file:
        expert = torch.frombuffer(bytearray(file.read()), dtype=torch.int32)
    return expert.view(s["tokens"], s["slots"]).long().to(place.device)


def expert_weights(place, s):
    """gate and up [E, 2F, D], down [E, D, F]: once for all jobs of a shape."""
    E, D, F = s["experts"], s["hidden"], s["width"]
    return place.once(("experts", E, D, F), lambda: (place.normal(E, 2 * F, D, deviation=D**-0.5),
                                                     place.normal(E, D, F, deviation=F**-0.5)))


def ends_of(torch, expert, experts):
    return torch.bincount(expert.flatten(), minlength=experts).cumsum(0).to(torch.int32)


def grouped(place, s):
    """The gate and up product alone, its rows gathered already."""
    torch = place.torch
    up, _ = expert_weights(place, s)
    ends = ends_of(torch, read_routing(place, s), s["experts"])
    rows = place.normal(s["tokens"] * s["slots"], s["hidden"])
    return lambda: torch._grouped_mm(rows, up.transpose(1, 2), offs=ends), "rows gathered before"


def frozen_product(torch):
    """rows [N, D] and a frozen stack [E, O, D] -> [N, O]; backward makes the gradient of the rows alone."""
    class Frozen(torch.autograd.Function):
        @staticmethod
        def forward(context, rows, stack, ends):
            context.save_for_backward(stack, ends)
            return torch._grouped_mm(rows, stack.transpose(1, 2), offs=ends)

        @staticmethod
        def backward(context, gradient):
            stack, ends = context.saved_tensors
            return torch._grouped_mm(gradient.contiguous(), stack, offs=ends), None, None
    return Frozen.apply


class Block:
    """Router, sort, experts with LoRA beside the product (rank 0: none), weighted sum."""

    def __init__(self, place, s):
        torch, R, E, D, F = place.torch, s["rank"], s["experts"], s["hidden"], s["width"]
        self.torch, self.experts, self.frozen = torch, E, frozen_product(torch)
        self.up, self.down = expert_weights(place, s)
        self.gate = place.normal(E, D, deviation=D**-0.5)
        self.expert = read_routing(place, s)

        def pair(inner, outer):
            return place.normal(E, R, inner, deviation=inner**-0.5, grad=True), \
                place.normal(E, outer, R, deviation=0.02, grad=True)
        self.up_lora, self.down_lora = (pair(D, 2 * F), pair(F, D)) if R else (None, None)
        self.leaves = [t for lora in (self.up_lora, self.down_lora) if lora for t in lora]

    def linear(self, rows, stack, lora, ends):
        y = self.frozen(rows, stack, ends)
        if lora is None:
            return y
        a, b = lora
        u = self.torch._grouped_mm(rows, a.transpose(1, 2), offs=ends)
        return y + 2.0 * self.torch._grouped_mm(u, b.transpose(1, 2), offs=ends)

    def __call__(self, x):
        """As a user has it, but for the choice, which is the given one: top-k is taken all the same."""
        torch, slots = self.torch, self.expert.shape[1]
        probability = torch.softmax((x @ self.gate.t()).float(), -1)
        probability.topk(slots, -1)
        weight = probability.gather(1, self.expert)
        weight = (weight / weight.sum(-1, keepdim=True)).to(x.dtype)
        order = self.expert.flatten().argsort(stable=True)
        ends = ends_of(torch, self.expert, self.experts)
        gate, up = self.linear(x[order // slots], self.up, self.up_lora, ends).chunk(2, -1)
        rows = self.linear(torch.nn.functional.silu(gate) * up, self.down, self.down_lora, ends)
        place_of = torch.empty_like(order)
        place_of[order] = torch.arange(order.numel(), device=order.device)
        return (rows[place_of].view(x.shape[0], slots, -1) * weight[..., None]).sum(1)


def block(place, s):
    layer = Block(place, s)
    x = place.normal(s["tokens"], s["hidden"], grad=True)
    dy = place.normal(s["tokens"], s["hidden"])

    def both():
        for leaf in [x] + layer.leaves:
            leaf.grad = None
        layer(x).backward(dy)
    return (both if s["backward"] else lambda: layer(x)), "grouped_mm"


def dense(place, s):
    """The frozen products of a block, forward and back to the input, with one expert's weights for all rows."""
    up, down = (stack[0] for stack in expert_weights(place, s))
    N, D, F = s["tokens"] * s["slots"], s["hidden"], s["width"]
    x, h, dz, dy = (place.normal(N, columns) for columns in (D, F, 2 * F, D))
    return lambda: (x @ up.t(), h @ down.t(), dy @ down, dz @ up), "torch.matmul"


def linear(place, s):
    """A frozen Linear with LoRA beside it (rank 0: none), forward and backward."""
    T, D, O, R = s["tokens"], s["hidden"], s["columns"], s["rank"]
    w, x, dy = place.normal(O, D, deviation=D**-0.5), place.normal(T, D, grad=True), place.normal(T, O)
    a, b = place.normal(R, D, deviation=D**-0.5, grad=True), place.normal(O, R, deviation=0.02, grad=True)

    def both():
        x.grad = a.grad = b.grad = None
        y = x @ w.t()
        (y + 2.0 * ((x @ a.t()) @ b.t()) if R else y).backward(dy)
    return both, "torch.matmul"


def head(place, s):
    """A frozen head with its loss, forward and backward; the logits as float, as transformers has them."""
    torch, V = place.torch, s["columns"]
    w = place.normal(V, s["hidden"], deviation=s["hidden"]**-0.5)
    x, target = place.normal(s["tokens"], s["hidden"], grad=True), torch.randint(V, (s["tokens"],), device=place.device)

    def both():
        x.grad = None
        torch.nn.functional.cross_entropy((x @ w.t()).float(), target).backward()
    return both, "cross_entropy of float logits"


def attention_run(place, s, backend, expanded):
    """One way to have causal attention; `expanded`: keys and values repeated for every head first."""
    torch = place.torch
    from torch.nn.attention import sdpa_kernel
    shape = (s["sequences"], s["heads"], s["length"], s["head"])
    few = (s["sequences"], s["kv_heads"], s["length"], s["head"])
    q, k, v = (place.normal(*size, grad=True) for size in (shape, few, few))
    dy, times = place.normal(*shape), s["heads"] // s["kv_heads"]

    def forward():
        keys, values = (t.repeat_interleave(times, 1) if expanded else t for t in (k, v))
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True,
                                                                    enable_gqa=not expanded)
    if not s["backward"]:
        return forward
    y = forward()
    return lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)


def attention(place, s):
    """The fastest of the fused backends, each with grouped queries of its own and with repeated keys."""
    from torch.nn.attention import SDPBackend
    backends = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
    if place.device == "cpu":
        backends = {"math": SDPBackend.MATH}
    best, problem = None, None
    for name, backend in backends.items():
        for expanded in (False, True):
            try:
                run = attention_run(place, s, backend, expanded)
                place.seconds(run, 3)
                took = place.seconds(run, 5)
            except RuntimeError as error:
                problem = error
                continue
            if best is None or took < best[0]:
                best = (took, run, name + (", keys repeated" if expanded else ""))
    if best is None:
        raise problem
    return best[1:]


def step(place, s):
    from step_peer import make_step
    return make_step(place, s)


KINDS = dict(product=product, adamw=adamw, grouped=grouped, block=block, dense=dense, linear=linear,
             head=head, attention=attention, step=step)


def answer(place, jobs, line):
    word, _, rest = line.strip().partition(" ")
    name, _, rest = rest.partition(" ")
    if word == "make":
        settings = json.loads(rest)
        run, note = KINDS[settings["kind"]](place, settings)
        place.seconds(run, 1)
        jobs[name] = run
        return f"ok {note}"
    if word == "run":
        return f"seconds {place.seconds(jobs[name], int(rest)):.9f}"
    if word == "drop":
        jobs.clear()
        place.shared.clear()
        place.give_back()
        return "ok"
    raise ValueError(f"no such word: {word}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")  # what libraries print must not get between the answers
    os.dup2(2, 1)

    def say(text):
        answers.write(text.replace("\n", " ") + "\n")
        answers.flush()
    try:
        place = Place(arguments.device, arguments.dtype)
        say(f"ok torch {place.torch.__version__}")
    except ImportError as problem:
        return say(f"error {problem}")
    place.torch.manual_seed(0)
    jobs = {}
    for line in sys.stdin:
        try:
            say(answer(place, jobs, line))
        except Exception as problem:  # whatever it is, the other side goes on without this job
            text = f"error {type(problem).__name__}: {problem}"[:400]
        else:
            continue
        place.give_back()  # what the job had taken, now that nothing points to it
        say(text)


if __name__ == "__main__":
    main()
