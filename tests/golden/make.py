#!/usr/bin/env python3
"""Makes every golden file of this folder with PyTorch, transformers and PEFT: the numbers that the C++ tests compare with.

Length: one file, so that one command with one seed and one set of versions remakes every number.

    python3 -m venv venv && venv/bin/pip install "torch>=2.11" "transformers>=5.0" "peft>=0.19.1" safetensors numpy
    venv/bin/python tests/golden/make.py [FOLDER]          (FOLDER: where to write; default: the folder of this file)

Checkpoints (llama_tiny, llama_tied_rope3, mistral_window, mixtral_tiny, mixtral_tiny_peft): random float32 weights, the
reference computed in float64 from them. transformers casts to float32 in many places even in a float64 model (RMSNorm,
softmax, rotary angles, the loss); `everything_in_float64` turns those casts off and a dispatch mode proves that no
float32 tensor was made. References are rounded to float32 once, when they are written.
Single ops (ops.safetensors, ops.json): written out by hand from the formulas in plain torch float64, gradients by
torch.autograd. Never computed by this library.
All random numbers come from numpy.random.RandomState (a frozen stream). The script asserts what it knows independently:
published vectors, an own forward pass of each model, PEFT's layout, limits on file sizes.
"""
import contextlib
import json
import math
import pathlib
import sys

import numpy
import peft
import safetensors
import safetensors.torch
import torch
import transformers
from torch.nn.functional import cross_entropy, silu, softmax
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

HERE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent).resolve()
VERSIONS = {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__, "peft": peft.__version__,
            "safetensors": safetensors.__version__, "numpy": numpy.__version__}
BATCH, LENGTH, VOCABULARY = 2, 20, 96
IGNORE = -100
TOO_NARROW = (torch.float32, torch.bfloat16, torch.float16)


# ------------------------------------------------------------------------------------------------ float64 everywhere
class ForbidFloat32(TorchDispatchMode):
    """Fails when any operation returns a float32 tensor: proof that a reference is float64 from end to end."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, torch.Tensor) and item.dtype in TOO_NARROW:
                raise AssertionError(f"{function} returned {item.dtype} inside a float64 reference")
        return result


@contextlib.contextmanager
def everything_in_float64():
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved
        torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------------------------------------- checkpoints
def checkpoint_configs():
    common = dict(vocab_size=VOCABULARY, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  max_position_embeddings=64, bos_token_id=1, eos_token_id=2, attn_implementation="eager")
    llama3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=16)
    return {
        "llama_tiny": (LlamaForCausalLM, LlamaConfig(
            hidden_size=32, head_dim=8, intermediate_size=40, rms_norm_eps=1e-5, tie_word_embeddings=False,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0), **common)),
        "llama_tied_rope3": (LlamaForCausalLM, LlamaConfig(
            hidden_size=24, head_dim=8, intermediate_size=20, rms_norm_eps=1e-6, tie_word_embeddings=True,
            rope_parameters=llama3, **common)),
        "mistral_window": (MistralForCausalLM, MistralConfig(
            hidden_size=24, head_dim=12, intermediate_size=20, rms_norm_eps=1e-5, sliding_window=5,
            tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=10000.0), **common)),
        "mixtral_tiny": (MixtralForCausalLM, MixtralConfig(
            hidden_size=32, intermediate_size=24, num_local_experts=4, num_experts_per_tok=2, rms_norm_eps=1e-5, sliding_window=None,
            tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=1000000.0),
            experts_implementation="eager", **common)),
    }


def fill_randomly(model, seed):
    """Scales that make every part matter: attention far from uniform, router far from ties, norms not all one."""
    random = numpy.random.RandomState(seed)
    embedding = 0.3 if model.config.tie_word_embeddings else 0.7
    scales = [("norm", None), ("embed", embedding), ("lm_head", 0.15), ("mlp.gate.weight", 0.5), ("experts", 0.25),
              ("mlp", 0.25), ("self_attn", 0.25)]
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            scale = next(value for key, value in scales if key in name)
            values = random.standard_normal(tuple(parameter.shape))
            values = 1 + 0.25 * values if scale is None else scale * values
            parameter.copy_(torch.from_numpy(values.astype(numpy.float32)))


def random_tokens(seed):
    return torch.from_numpy(numpy.random.RandomState(seed).randint(3, VOCABULARY, (BATCH, LENGTH)))


def checkpoint_gradients(model):
    """Gradients under the names of the checkpoint's own files: transformers 5 fuses the experts, the files do not."""
    result = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if name.endswith("mlp.experts.gate_up_proj"):
            prefix = name.replace("mlp.experts.gate_up_proj", "block_sparse_moe.experts")
            for expert, both in enumerate(gradient):
                width = both.shape[0] // 2
                result[f"{prefix}.{expert}.w1.weight"], result[f"{prefix}.{expert}.w3.weight"] = both[:width], both[width:]
        elif name.endswith("mlp.experts.down_proj"):
            prefix = name.replace("mlp.experts.down_proj", "block_sparse_moe.experts")
            for expert, down in enumerate(gradient):
                result[f"{prefix}.{expert}.w2.weight"] = down
        else:
            result[name.replace("mlp.gate.weight", "block_sparse_moe.gate.weight")
                   if model.config.model_type == "mixtral" else name] = gradient
    return result


def run_reference(model, tokens):
    model.eval()
    output = model(input_ids=tokens, labels=tokens, use_cache=False)
    output.loss.backward()
    return output.logits.detach(), output.loss.detach()


def float64_copy(model_class, config, state):
    with everything_in_float64():
        model = model_class(config).double()
        model.load_state_dict({name: value.double() for name, value in state.items()})
    return model


def relative_difference(left, right):
    left, right = left.detach(), right.detach()
    return float((left.double() - right.double()).norm() / right.double().norm().clamp_min(1e-300))


def write_tensors(path, tensors, notes):
    """One metadata key only: safetensors writes several in a random order, and these files must come out the same twice."""
    safetensors.torch.save_file(tensors, str(path), metadata={"notes": json.dumps(dict(notes, versions=VERSIONS), sort_keys=True)})
    path.chmod(0o644)


def save_reference(path, tensors, notes):
    def stored(value):
        value = value.detach().contiguous()
        return value.to(torch.float32) if value.is_floating_point() else value
    write_tensors(path, {name: stored(value) for name, value in tensors.items()}, notes)
    print(path.parent.name, notes)


def own_forward(config, weights, tokens, delta=None):
    """An independent forward pass in float64 from the checkpoint's tensors: checks transformers, the float64 trick and
    the names. `delta` maps a tensor name to a LoRA delta that is added to it. Returns logits and routing per layer."""
    def weight(name):
        value = weights[name].double()
        return value + delta[name] if delta and name in delta else value

    def norm(x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps).sqrt() * weight(name)

    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    frequencies = inverse_frequencies(size, **config.rope_parameters)
    routing = []
    x = weights["model.embed_tokens.weight"].double()[tokens]
    for layer in range(config.num_hidden_layers):
        base = f"model.layers.{layer}."
        h = norm(x, base + "input_layernorm.weight")
        q, k, v = ((h @ weight(f"{base}self_attn.{part}_proj.weight").T).unflatten(-1, (-1, size)) for part in "qkv")
        q, k = (torch.stack([rotate_half_rope(s, torch.arange(len(s)), frequencies) for s in t]) for t in (q, k))
        attended = torch.stack([attention(q[b], k[b], v[b], [0], getattr(config, "sliding_window", None)) for b in range(len(q))])
        assert q.shape[2] == heads and k.shape[2] == key_heads
        x = x + attended.flatten(-2) @ weight(base + "self_attn.o_proj.weight").T
        h = norm(x, base + "post_attention_layernorm.weight")
        if config.model_type == "mixtral":
            moe = base + "block_sparse_moe."
            experts = [[weight(f"{moe}experts.{e}.w{i}.weight") for i in (1, 2, 3)] for e in range(config.num_local_experts)]
            y, chosen, weights_chosen = moe_block(h.flatten(0, 1), weight(moe + "gate.weight"), experts, config.num_experts_per_tok)
            routing.append((chosen, weights_chosen))
            x = x + y.view_as(x)
        else:
            gate, up, down = (weight(f"{base}mlp.{part}_proj.weight") for part in ("gate", "up", "down"))
            x = x + (silu(h @ gate.T) * (h @ up.T)) @ down.T
    head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
    return norm(x, "model.norm.weight") @ weight(head).T, routing


def mean_next_token_loss(logits, tokens):
    return cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def load_folder(folder):
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        file.chmod(0o644)
        weights.update(safetensors.torch.load_file(file))
    return weights


def tidy_config(folder, old_style_rope):
    """Real Llama 3 checkpoints carry rope_theta, rope_scaling and torch_dtype at the top level: one golden does too."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if old_style_rope:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = rope
        config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_checkpoint(name, model_class, config, seed):
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    model = model_class(config)
    fill_randomly(model, seed)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.save_pretrained(folder, max_shard_size="80KB" if config.model_type == "mixtral" else "5GB")
    tidy_config(folder, old_style_rope=name == "llama_tied_rope3")
    tokens = random_tokens(seed + 1)
    logits_single, _ = run_reference(model, tokens)
    gradients_single = checkpoint_gradients(model)

    exact = float64_copy(model_class, config, state)
    with everything_in_float64(), ForbidFloat32():
        logits, loss = run_reference(exact, tokens)
    gradients = checkpoint_gradients(exact)

    weights = load_folder(folder)
    assert set(gradients) == set(weights), set(gradients) ^ set(weights)
    own_weights = {key: value.double().requires_grad_() for key, value in weights.items()}
    own, routing = own_forward(config, own_weights, tokens)
    own_loss = mean_next_token_loss(own, tokens)
    assert relative_difference(own, logits) < 1e-12 and abs(own_loss.detach() - loss) < 1e-12
    for key, gradient in zip(own_weights, torch.autograd.grad(own_loss, list(own_weights.values()))):
        assert relative_difference(gradients[key], gradient) < 1e-11, key
    again = model_class.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    assert relative_difference(again(input_ids=tokens, use_cache=False).logits, logits_single) < 1e-6
    tensors = {"tokens": tokens, "logits": logits, "loss": loss.reshape(1)}
    tensors.update({"grad." + key: value for key, value in gradients.items()})
    notes = {
        "float32_logits_difference": f"{float((logits_single - logits).abs().max() / logits.abs().max()):.2e} of the largest",
        "float32_gradient_difference": "%.2e of its own norm, worst tensor" % max(
            relative_difference(gradients_single[key], gradients[key]) for key in gradients),
        "loss": f"{float(loss):.9f}"}
    if routing:
        for layer, (chosen, chosen_weights) in enumerate(routing):
            tensors[f"routing.{layer}.expert"], tensors[f"routing.{layer}.weight"] = chosen.to(torch.int32), chosen_weights
            counts = torch.bincount(chosen.flatten(), minlength=config.num_local_experts)
            assert counts.min() > 0, counts
            notes[f"expert_counts_{layer}"] = counts.tolist()
        notes["smallest_router_margin"] = f"{smallest_margin(own_router_logits(config, weights, tokens)):.2e}"
    save_reference(folder / "reference.safetensors", tensors, notes)
    return state, tokens


def own_router_logits(config, weights, tokens):
    captured = []
    original = globals()["moe_block"]

    def spy(x, gate, experts, k):
        captured.append(x @ gate.T)
        return original(x, gate, experts, k)
    globals()["moe_block"] = spy
    own_forward(config, weights, tokens)
    globals()["moe_block"] = original
    return torch.cat(captured)


def smallest_margin(logits, k=2):
    """Smallest gap between neighbouring probabilities among the first k+1: far from any tie, so float32 routes alike."""
    ordered = softmax(logits, -1).sort(dim=-1, descending=True).values[:, :k + 1]
    margin = float((ordered[:, :-1] - ordered[:, 1:]).min())
    assert margin > 2e-4, margin
    return margin


# ------------------------------------------------------------------------------------------------------ PEFT adapter
def make_adapter(config, state, tokens, seed):
    folder = HERE / "mixtral_tiny_peft"
    folder.mkdir(parents=True, exist_ok=True)
    lora = dict(r=3, lora_alpha=6, lora_dropout=0.0, bias="none", target_modules=["q_proj", "v_proj"],
                target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])

    def adapted(double):
        if not double:
            model = MixtralForCausalLM(config)
            model.load_state_dict(state)
            return peft.get_peft_model(model, peft.LoraConfig(**lora))
        base = float64_copy(MixtralForCausalLM, config, state)
        with everything_in_float64():
            return peft.get_peft_model(base, peft.LoraConfig(**lora)).double()

    single, exact = adapted(False), adapted(True)
    random = numpy.random.RandomState(seed)
    with torch.no_grad():
        targets = dict(exact.named_parameters())
        for name, parameter in sorted(single.named_parameters()):
            if parameter.requires_grad:
                values = 0.2 * random.standard_normal(tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(values.astype(numpy.float32)))
                targets[name].copy_(parameter.double())
    single.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    adapter_config = json.loads(path.read_text())
    for key in ("target_modules", "target_parameters"):
        adapter_config[key] = sorted(adapter_config[key])
    adapter_config["base_model_name_or_path"] = None
    path.write_text(json.dumps(adapter_config, indent=2, sort_keys=True) + "\n")
    (folder / "adapter_model.safetensors").chmod(0o644)
    saved = safetensors.torch.load_file(folder / "adapter_model.safetensors")

    logits_single, _ = run_reference(single, tokens)
    with everything_in_float64(), ForbidFloat32():
        logits, loss = run_reference(exact, tokens)
    strip = lambda name: name.replace(".default", "")
    gradients = {strip(n): p.grad.clone() for n, p in exact.named_parameters() if p.requires_grad}
    gradients_single = {strip(n): p.grad for n, p in single.named_parameters() if p.requires_grad}
    assert set(gradients) == set(saved)

    weights = load_folder(HERE / "mixtral_tiny")
    own_adapter = {key: value.double().requires_grad_() for key, value in saved.items()}
    own, routing = own_forward(config, weights, tokens, adapter_deltas(config, own_adapter, scale=2.0))
    assert relative_difference(own, logits) < 1e-12, "the adapter's layout is not what adapter_deltas says"
    own_gradients = torch.autograd.grad(mean_next_token_loss(own, tokens), list(own_adapter.values()))
    for key, gradient in zip(own_adapter, own_gradients):
        assert relative_difference(gradients[key], gradient) < 1e-11, key
    tensors = {"tokens": tokens, "logits": logits, "loss": loss.reshape(1)}
    tensors.update({"grad." + key: value for key, value in gradients.items()})
    for layer, (chosen, chosen_weights) in enumerate(routing):
        tensors[f"routing.{layer}.expert"], tensors[f"routing.{layer}.weight"] = chosen.to(torch.int32), chosen_weights
    save_reference(folder / "reference.safetensors", tensors, {
        "float32_logits_difference": f"{float((logits_single - logits).abs().max() / logits.abs().max()):.2e} of the largest",
        "float32_gradient_difference": "%.2e of its own norm, worst tensor" % max(
            relative_difference(gradients_single[key], gradients[key]) for key in gradients),
        "loss": f"{float(loss):.9f}"})
    options = dict(lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    with everything_in_float64():
        losses = ten_adamw_steps(exact, tokens, options)
    losses_single = ten_adamw_steps(single, tokens, options)
    (folder / "ten_steps.json").write_text(json.dumps(dict(
        options, losses=losses, losses_float32=losses_single, versions=VERSIONS), indent=1) + "\n")
    worst = max(abs(a - b) for a, b in zip(losses, losses_single))
    print("mixtral_tiny_peft ten steps", losses[0], "->", losses[-1], "float32 differs by at most", worst)


def ten_adamw_steps(model, tokens, options):
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], **options)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def adapter_deltas(config, saved, scale):
    """PEFT's layout in words that can be checked: lora_A [E*R, in] has row e*R + j, lora_B [out, R*E] has column j*E + e;
    experts.base_layer is gate_up (wrapped first), experts is down (wrapped last)."""
    experts, width, result = config.num_local_experts, config.intermediate_size, {}
    for layer in range(config.num_hidden_layers):
        base = f"model.layers.{layer}."
        for module in ("q_proj", "v_proj"):
            key = f"base_model.model.{base}self_attn.{module}.lora_"
            result[f"{base}self_attn.{module}.weight"] = scale * saved[key + "B.weight"].double() @ saved[key + "A.weight"].double()
        for suffix, names in ((".base_layer", ("w1", "w3")), ("", ("w2",))):
            key = f"base_model.model.{base}mlp.experts{suffix}.lora_"
            a, b = saved[key + "A.weight"].double(), saved[key + "B.weight"].double()
            rank = a.shape[0] // experts
            for e in range(experts):
                delta = scale * b[:, e::experts] @ a[e * rank:(e + 1) * rank]
                for index, name in enumerate(names):
                    part = delta[index * width:(index + 1) * width] if len(names) == 2 else delta
                    result[f"{base}block_sparse_moe.experts.{e}.{name}.weight"] = part
    return result


# --------------------------------------------------------------------------------------------- formulas of single ops
def inverse_frequencies(size, rope_theta=10000.0, rope_type="default", factor=1.0, low_freq_factor=1.0,
                        high_freq_factor=4.0, original_max_position_embeddings=8192):
    """f_i = theta^(-2i/d). linear: f/factor. llama3: by wavelength 2 pi / f, smooth between the two bounds."""
    plain = 1.0 / rope_theta ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    if rope_type == "default":
        return plain
    if rope_type == "linear":
        return plain / factor
    result = []
    for f in plain.tolist():
        wavelength = 2 * math.pi / f
        if wavelength < original_max_position_embeddings / high_freq_factor:
            result.append(f)
        elif wavelength > original_max_position_embeddings / low_freq_factor:
            result.append(f / factor)
        else:
            smooth = (original_max_position_embeddings / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor)
            result.append((1 - smooth) * f / factor + smooth * f)
    return torch.tensor(result, dtype=torch.float64)


def rotate_half_rope(x, positions, frequencies):
    """x [T, H, d]; pairs are (i, i + d/2)."""
    angle = positions.double()[:, None] * frequencies
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    low, high = x.chunk(2, -1)
    return torch.cat([low * cosine - high * sine, high * cosine + low * sine], -1)


def attention(q, k, v, begins, window=None):
    """q [T, H, d], k, v [T, G, d]: head h reads key head h / (H/G); causal inside its segment; i - j < window."""
    rows, heads, size = q.shape
    index = torch.arange(rows)
    segment = torch.bucketize(index, torch.tensor(begins), right=True)
    allowed = (index[:, None] >= index) & (segment[:, None] == segment)
    if window:
        allowed &= index[:, None] - index < window
    k, v = (t.repeat_interleave(heads // k.shape[1], 1) for t in (k, v))
    score = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(size)
    return torch.einsum("hij,jhd->ihd", softmax(score.masked_fill(~allowed, -math.inf), -1), v)


def ordered_topk(score, k):
    """Ties: lowest index first."""
    return score.sort(dim=-1, descending=True, stable=True).indices[..., :k]


def moe_block(x, gate, experts, k, lora=None, scale=1.0):
    """Mixtral: softmax, top-k, renormalise; experts are w2 (silu(w1 x) * w3 x). lora: (A1 [E,R,D], B1 [E,2F,R] over w1 above
    w3, A2 [E,R,F], B2 [E,D,R])."""
    probability = softmax(x @ gate.T, -1)
    chosen = ordered_topk(probability, k)
    weight = probability.gather(-1, chosen)
    weight = weight / weight.sum(-1, keepdim=True)
    rows = []
    for t in range(len(x)):
        total = 0
        for slot in range(k):
            e = int(chosen[t, slot])
            w1, w2, w3 = experts[e]
            first, third = w1 @ x[t], w3 @ x[t]
            if lora:
                both = scale * lora[1][e] @ (lora[0][e] @ x[t])
                first, third = first + both[:len(first)], third + both[len(first):]
            h = silu(first) * third
            down = w2 @ h
            if lora:
                down = down + scale * lora[3][e] @ (lora[2][e] @ h)
            total = total + weight[t, slot] * down
        rows.append(total)
    return torch.stack(rows), chosen, weight


def ada_moe_weights(logits, true_experts, k, over):
    """over "true": renormalised over the true experts chosen (option 2); "selected": over all k (option 1). Null slots get 0."""
    probability = softmax(logits, -1)
    chosen = ordered_topk(probability, k)
    picked = probability.gather(-1, chosen)
    is_true = chosen < true_experts
    total = (picked * is_true if over == "true" else picked).sum(-1, keepdim=True)
    return chosen, torch.where(is_true, picked / torch.where(total == 0, torch.ones_like(total), total), 0.0)


def renormalised_topk(probability, k):
    chosen = ordered_topk(probability.detach(), k)
    picked = probability.gather(-1, chosen)
    return chosen, picked / picked.sum(-1, keepdim=True)


def mor_probability(variant, x, subs, main=None, theta=None, k=2):
    """subs [J, E, D]; main [J, D]; theta [J]. Returns the mixed score [T, E] from which top-k is taken."""
    mix = softmax(theta, -1).expand(len(x), -1) if variant == "D" else softmax(x @ main.T, -1)
    logits = torch.einsum("td,jed->tje", x, subs)
    if variant == "B":
        return softmax((mix[..., None] * logits).sum(1), -1)
    each = softmax(logits, -1)
    if variant == "C":
        chosen, weight = renormalised_topk(each, k)
        each = torch.zeros_like(each).scatter(-1, chosen, weight)
    return (mix[..., None] * each).sum(1)


def slot_load(logits, k):
    """f_e = chosen slots of e / tokens: sums to k."""
    chosen = ordered_topk(softmax(logits, -1), k)
    return torch.nn.functional.one_hot(chosen, logits.shape[-1]).sum(1).double().mean(0).detach()


def switch_normalised(logits, k):
    return logits.shape[-1] * (slot_load(logits, k) / k * softmax(logits, -1).mean(0)).sum()


def balance_losses(logits, valid, begins, k, true_experts):
    """logits [L, T, E+M]. One value per layer except hf_concat, which pools the layers. Padding (valid 0) is left out."""
    experts = logits.shape[-1]
    rows = [layer[valid] for layer in logits]
    segment = torch.bucketize(torch.arange(logits.shape[1]), torch.tensor(begins), right=True)

    def null_averaged(layer):
        load = slot_load(layer, k)
        load = torch.cat([load[:true_experts], load[true_experts:].mean().expand(experts - true_experts)])
        return experts * (load * softmax(layer, -1).mean(0)).sum()

    def per_sequence(layer):
        parts = [layer[valid & (segment == s)] for s in segment.unique()]
        return torch.stack([switch_normalised(part, k) for part in parts]).mean()

    pooled = torch.cat(rows)
    return {
        "hf_concat": experts * (slot_load(pooled, k) * softmax(pooled, -1).mean(0)).sum().reshape(1),
        "switch_per_layer": torch.stack([switch_normalised(r, k) for r in rows]),
        "seq": torch.stack([per_sequence(layer) for layer in logits]),
        "adamoe_eq3": torch.stack([k * switch_normalised(r, k) for r in rows]),
        "adamoe_eq6": torch.stack([null_averaged(r) for r in rows]),
        "z_loss": torch.stack([r.logsumexp(-1).pow(2).mean() for r in rows]),
    }


# -------------------------------------------------------------------------------------------------- single-op goldens
class Ops:
    """Collects tensors as <case>.<tensor> and the scalars of each case for ops.json."""

    def __init__(self, seed):
        self.random = numpy.random.RandomState(seed)
        self.tensors, self.notes = {}, {}

    def normal(self, *shape, scale=1.0):
        return torch.from_numpy(scale * self.random.standard_normal(shape)).requires_grad_()

    def add(self, case, formula, scalars=None, **tensors):
        for name, value in tensors.items():
            assert value.dtype in (torch.float64, torch.int64), (case, name, value.dtype)
            self.tensors[f"{case}.{name}"] = value.detach().clone().contiguous()
        self.notes[case] = dict(formula=formula, **(scalars or {}),
                                tensors={name: list(value.shape) for name, value in tensors.items()})

    def differentiate(self, case, formula, inputs, outputs, scalars=None, extra=None):
        """A random dy for every output, then d<input> for every input that asks for one."""
        upstream = {name: self.normal(*value.shape).detach() for name, value in outputs.items()}
        wanted = {name: value for name, value in inputs.items() if value.requires_grad}
        total = sum((outputs[name] * upstream[name]).sum() for name in outputs)
        gradients = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
        gradients = [torch.zeros_like(v) if g is None else g for v, g in zip(wanted.values(), gradients)]
        self.add(case, formula, scalars, **inputs, **outputs, **(extra or {}), **{"d" + n: v for n, v in upstream.items()},
                 **{"d" + n: g for n, g in zip(wanted, gradients)})


def dense_ops(ops):
    x, w = ops.normal(4, 6, scale=2.0), ops.normal(6)
    eps = 1e-5
    ops.differentiate("rms_norm", "y = x / sqrt(mean(x^2) + eps) * w", dict(x=x, w=w),
                      dict(y=x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * w), dict(eps=eps))
    gate, up = ops.normal(3, 5, scale=3.0), ops.normal(3, 5)
    ops.differentiate("swiglu", "y = silu(gate) * up", dict(gate=gate, up=up), dict(y=silu(gate) * up))

    x, w, a, b = ops.normal(5, 6), ops.normal(4, 6), ops.normal(3, 6), ops.normal(4, 3)
    ops.differentiate("linear_lora", "y = x w^T + scale (x a^T) b^T", dict(x=x, w=w, a=a, b=b),
                      dict(y=x @ w.T + 2.0 * (x @ a.T) @ b.T), dict(scale=2.0, rank=3, alpha=6))

    logits = ops.normal(6, 7, scale=3.0)
    with torch.no_grad():
        logits[4] += 700.0
        logits[4, 2] += 60.0
    target = torch.tensor([3, IGNORE, 0, 6, 5, IGNORE])
    loss = (logits.logsumexp(-1) - logits.gather(-1, target.clamp_min(0)[:, None])[:, 0])[target != IGNORE].mean()
    assert torch.allclose(loss, cross_entropy(logits, target, ignore_index=IGNORE), rtol=1e-14)
    ops.add("cross_entropy", "mean over targets != ignore of logsumexp(logits) - logits[target]", dict(ignore=IGNORE),
            logits=logits, target=target, loss=loss.reshape(1), dlogits=torch.autograd.grad(loss, logits)[0])
    x, w = ops.normal(6, 4), ops.normal(7, 4)
    loss = cross_entropy(x @ w.T, target, ignore_index=IGNORE)
    dx, dw = torch.autograd.grad(loss, (x, w))
    ops.add("linear_cross_entropy", "cross_entropy of logits = x w^T", dict(ignore=IGNORE),
            x=x, w=w, target=target, loss=loss.reshape(1), dx=dx, dw=dw)


def rope_ops(ops):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    settings = {
        "rope_default": dict(rope_type="default", rope_theta=10000.0),
        "rope_linear": dict(rope_type="linear", rope_theta=10000.0, factor=4.0),
        "rope_llama3": dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                            original_max_position_embeddings=8192),
    }
    positions = torch.tensor([0, 1, 7, 4095, 131072])
    for case, rope in settings.items():
        size = 16 if case == "rope_llama3" else 8
        frequencies = inverse_frequencies(size, **rope)
        if case != "rope_default":
            config = LlamaConfig(hidden_size=4 * size, num_attention_heads=4, head_dim=size,
                                 max_position_embeddings=131072, rope_parameters=dict(rope))
            with everything_in_float64():
                theirs, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu")
            assert factor == 1.0 and torch.allclose(theirs.double(), frequencies, rtol=1e-12, atol=0)
        x = ops.normal(len(positions), 2, size)
        ops.differentiate(case, "rotate-half: pairs (i, i + d/2), angle = position * inverse_frequency[i]", dict(x=x),
                          dict(y=rotate_half_rope(x, positions, frequencies)), rope,
                          dict(position=positions, inverse_frequency=frequencies))


def attention_ops(ops):
    for case, begins, window in (("attention_causal", [0], None), ("attention_segments", [0, 4, 5], None),
                                 ("attention_window", [0, 6], 3)):
        q, k, v = ops.normal(9, 4, 4, scale=1.5), ops.normal(9, 2, 4, scale=1.5), ops.normal(9, 2, 4)
        y = attention(q, k, v, begins, window)
        if case == "attention_causal":
            theirs = torch.nn.functional.scaled_dot_product_attention(*(t.transpose(0, 1)[None] for t in (q, k, v)),
                                                                      is_causal=True, enable_gqa=True)
            assert torch.allclose(theirs[0].transpose(0, 1), y, atol=1e-13)
        ops.differentiate(case, "softmax(q k^T / sqrt(d)) v; j <= i, same segment, i - j < window; head h reads key head h/2",
                          dict(q=q, k=k, v=v), dict(y=y), dict(window=window), dict(begin=torch.tensor(begins + [9])))


def moe_ops(ops):
    tokens, width, hidden, experts, rank = 7, 5, 6, 4, 3
    for case, with_lora in (("moe_block", False), ("moe_block_lora", True)):
        x, gate = ops.normal(tokens, hidden), ops.normal(experts, hidden)
        with torch.no_grad():                      # a constant feature keeps expert 3 empty: its gradients are exactly zero
            x[:, 0] = 1.0
            gate[3] = torch.tensor([-30.0] + [0.0] * (hidden - 1))
        w1, w2, w3 = ops.normal(experts, width, hidden), ops.normal(experts, hidden, width), ops.normal(experts, width, hidden)
        lora = (ops.normal(experts, rank, hidden), ops.normal(experts, 2 * width, rank), ops.normal(experts, rank, width),
                ops.normal(experts, hidden, rank)) if with_lora else None
        y, chosen, weight = moe_block(x, gate, list(zip(w1, w2, w3)), 2, lora, scale=0.5)
        inputs = dict(x=x, gate=gate, w1=w1, w2=w2, w3=w3)
        if with_lora:
            inputs.update(zip(("gate_up_a", "gate_up_b", "down_a", "down_b"), lora))
        ops.differentiate(case, "p = softmax(x gate^T), top-2, renormalised; y = sum w2_e(silu(w1_e x) * w3_e x); lora: scale B_e A_e",
                          inputs, dict(y=y), dict(experts_per_token=2, scale=0.5, empty_expert=3),
                          dict(expert=chosen, weight=weight))
        assert not (chosen == 3).any() and torch.bincount(chosen.flatten())[:3].min() > 0
        for name in inputs:                        # the gate's zero passes through a softmax: zero up to rounding
            if name != "x":
                assert ops.tensors[f"{case}.d{name}"][3].abs().max() <= (1e-15 if name == "gate" else 0), (case, name)


def routing_ops(ops):
    logits = ops.normal(5, 6, scale=1.5)
    chosen, weight = renormalised_topk(softmax(logits, -1), 2)
    ops.differentiate("topk_renormalised", "p = softmax(z); w = p / sum of p over the top 2", dict(logits=logits),
                      dict(weight=weight), dict(k=2), dict(expert=chosen))
    logits = ops.normal(5, 6, scale=1.5)
    probability = softmax(logits, -1)
    chosen = ordered_topk(probability.detach(), 2)
    ops.differentiate("topk_raw", "p = softmax(z); w = p on the top 2: every logit gets gradient", dict(logits=logits),
                      dict(weight=probability.gather(-1, chosen)), dict(k=2), dict(expert=chosen))
    for over in ("true", "selected"):
        logits = ops.normal(8, 8, scale=1.5)
        with torch.no_grad():
            logits[6, :4] -= 9.0                   # token 6 takes nulls only, token 7 true experts only
            logits[7, 4:] -= 9.0
        chosen, weight = ada_moe_weights(logits, 4, 3, over)
        count = (chosen < 4).sum(-1)
        assert {0, 1, 2, 3} == set(count.tolist()), count
        ops.differentiate(f"adamoe_over_{over}", "softmax over E+M, top-3; weights over the true experts chosen (true) or over all 3 "
                          "(selected); expert >= 4 is null, weight 0", dict(logits=logits), dict(weight=weight),
                          dict(true_experts=4, null_experts=4, k=3), dict(expert=chosen, true_count=count))
    gate, x = ops.normal(4, 3).detach(), ops.normal(6, 3).detach()
    logits = torch.cat([x @ gate.T] * 3, -1)       # eight nulls: two copies of every row of the gate
    chosen, weight = ada_moe_weights(logits, 4, 5, "true")
    plain, plain_weight = renormalised_topk(softmax(x @ gate.T, -1), 2)
    assert ((chosen < 4).sum(-1) == 2).all()       # ceil(k / (1 + M/E)) = ceil(5 / 3)
    assert all(torch.equal(c[c < 4], p) and torch.allclose(w[c < 4], q) for c, w, p, q in zip(chosen, weight, plain, plain_weight))
    ops.add("adamoe_at_init", "gate2 = two copies of gate: with ties to the lowest index it is plain top-2", dict(
        true_experts=4, null_experts=8, k=5), x=x, gate=gate, logits=logits, expert=chosen, weight=weight,
        plain_expert=plain, plain_weight=plain_weight)


def mor_ops(ops):
    for variant in "ABCD":
        x, subs = ops.normal(5, 4), ops.normal(3, 6, 4)
        inputs = dict(x=x, sub=subs)
        if variant == "D":
            inputs["theta"] = ops.normal(3)
        else:
            inputs["main"] = ops.normal(3, 4)
        probability = mor_probability(variant, x, subs, inputs.get("main"), inputs.get("theta"))
        chosen, weight = renormalised_topk(probability, 2)
        ops.differentiate(f"mor_{variant.lower()}", "weight = top-2 of the mixed score, renormalised; variants as in make.py mor_probability",
                          inputs, dict(weight=weight), dict(k=2, sub_routers=3), dict(expert=chosen, probability=probability))
        score = mor_probability(variant, x, subs, inputs.get("main"), inputs.get("theta"))
        upstream = ops.normal(5, 6).detach()
        gradients = torch.autograd.grad((score * upstream).sum(), list(inputs.values()))
        ops.add(f"mor_{variant.lower()}_score", "gradient of the mixed score P alone, from dprobability = dL/dP",
                dict(k=2, sub_routers=3), dprobability=upstream, **{"d" + n: g for n, g in zip(inputs, gradients)})


def balance_ops(ops):
    layers, rows, experts, true_experts, k = 2, 8, 6, 4, 2
    logits = ops.normal(layers, rows, experts, scale=1.2)
    valid = torch.tensor([1, 1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    begins = [0, 5]                                # rows 0..4 (row 4 is padding) and rows 5..7
    losses = balance_losses(logits, valid, begins, k, true_experts)
    gradients = {name: torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for name, value in losses.items()}
    changed = logits.detach().clone()
    changed[:, 4] = 50.0
    for name, value in balance_losses(changed, valid, begins, k, true_experts).items():
        assert torch.equal(value, losses[name]), (name, "padding changed the loss")
    ops.add("balance", "raw values, coefficient 1; one value per layer (hf_concat: one); d<name> is the gradient of their sum",
            dict(k=k, true_experts=true_experts, null_experts=experts - true_experts),
            logits=logits, valid=valid.to(torch.int64), begin=torch.tensor(begins + [rows]),
            **losses, **{"d" + name: value for name, value in gradients.items()})
    uniform = torch.zeros(1, 4, 4, dtype=torch.float64)
    balanced = balance_losses(uniform, torch.ones(4, dtype=torch.bool), [0], 2, 4)
    assert abs(float(balanced["switch_per_layer"]) - 1) < 1e-15 and abs(float(balanced["hf_concat"]) - 2) < 1e-15
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func
    with everything_in_float64():
        theirs = load_balancing_loss_func(tuple(layer.detach() for layer in logits), experts, k,
                                          torch.tensor([[1, 1, 1, 1, 0, 1, 1, 1]]))
    print("hf_concat: ours", float(losses["hf_concat"].detach()), "transformers", float(theirs))
    assert abs(float(theirs) - float(losses["hf_concat"].detach())) < 1e-12


def adamw_ops(ops):
    options = dict(lr=0.02, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    limit = 1.0
    parameters = [ops.normal(2, 3), ops.normal(4)]
    optimiser = torch.optim.AdamW(parameters, **options)
    tensors = {f"w{i}_0": p.detach().clone() for i, p in enumerate(parameters)}
    norms = []
    for step in (1, 2, 3):
        scale = 0.1 if step == 2 else 1.5          # step 2 stays under the limit: no clipping
        for i, parameter in enumerate(parameters):
            parameter.grad = ops.normal(*parameter.shape, scale=scale).detach()
            tensors[f"g{i}_{step}"] = parameter.grad.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        assert (float(norm) > limit) == (step != 2), float(norm)
        norms.append(norm)
        optimiser.step()
        for i, parameter in enumerate(parameters):
            state = optimiser.state[parameter]
            tensors[f"w{i}_{step}"] = parameter.detach().clone()
            tensors[f"m{i}_{step}"], tensors[f"v{i}_{step}"] = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
    ops.add("adamw", "g *= min(1, limit / (norm + 1e-6)), norm over all gradients; w *= 1 - lr decay; m, v; "
            "w -= lr m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps). Suffix _t: after step t; g as given, before clipping",
            dict(options, clip=limit), norm=torch.stack(norms), **tensors)


# ------------------------------------------------------------------------------------------------- published vectors
def close(value, expected, what, tolerance=1.01e-6):
    value, expected = torch.as_tensor(value, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64)
    assert value.shape == expected.shape and (value - expected).abs().max() <= tolerance, (what, value, expected)


def published_vectors(ops):
    """Vectors written down elsewhere (six decimals), recomputed here; what is stored has all its digits."""
    logits = torch.tensor([[2, 1, 0, -1], [1, -1, 0, -2], [-1, -2, 1, 0]], dtype=torch.float64, requires_grad=True)
    chosen, weight = ada_moe_weights(logits, 2, 2, "true")
    assert [sorted(row) for row in chosen.tolist()] == [[0, 1], [0, 2], [2, 3]]
    close(weight, [[.731059, .268941], [1, 0], [0, 0]], "AdaMoE weights")
    assert (chosen < 2).sum(-1).tolist() == [2, 1, 0]
    losses = balance_losses(logits[None], torch.ones(3, dtype=torch.bool), [0], 2, 2)
    close(slot_load(logits, 2), [.666667, .333333, .666667, .333333], "f")
    close(softmax(logits.detach(), -1).mean(0), [.458324, .118695, .322647, .100333], "P")
    close(losses["adamoe_eq3"].detach(), [2.374629], "Eq 3")
    close(losses["adamoe_eq6"].detach(), [2.226419], "Eq 6")
    close(losses["adamoe_eq6"].detach() / 2, [1.113210], "Eq 6 with counts over T k")
    close(losses["z_loss"].detach(), [3.367606], "z-loss")
    gradients = {name: torch.autograd.grad(losses[name].sum(), logits, retain_graph=True)[0]
                 for name in ("adamoe_eq3", "adamoe_eq6", "z_loss")}
    close(gradients["adamoe_eq6"], [[.084849, -.074067, -.007882, -.002900], [.063423, -.030147, -.029309, -.003967],
                                    [.018299, -.007517, -.007882, -.002900]], "dEq 6")
    ops.add("published_adamoe", "the AdaMoE vectors: E=2, M=2, k=2", dict(true_experts=2, null_experts=2, k=2), logits=logits,
            expert=chosen, weight=weight, load=slot_load(logits, 2), probability=softmax(logits, -1).mean(0),
            **{name: losses[name] for name in gradients}, **{"d" + name: value for name, value in gradients.items()})

    def tensor(values):
        return torch.tensor(values, dtype=torch.float64, requires_grad=True)
    subs = tensor([[[1, 0], [0, 1], [-1, .5]], [[-.5, 1], [1, -1], [0, .5]]])
    main, theta, x = tensor([[.5, -.5], [0, 1]]), tensor([.3, -.2]), tensor([[1, -1], [.5, 2]])
    expected = {"A": ([[0, 1], [0, 2]], [[.779909, .220091], [.675623, .324377]]),
                "B": ([[0, 1], [0, 2]], [[.793210, .206790], [.669281, .330719]]),
                "C": ([[0, 1], [0, 2]], [[.782883, .217117], [.682877, .317123]]),
                "D": ([[0, 1], [1, 0]], [[.560698, .439302], [.559932, .440068]])}
    for variant, (experts, weights) in expected.items():
        probability = mor_probability(variant, x, subs, main, theta)
        chosen, weight = renormalised_topk(probability, 2)
        assert chosen.tolist() == experts, (variant, chosen)
        close(weight.detach(), weights, "MoR " + variant)
        if variant == "A":
            close(probability[0].detach(), [.726731, .205084, .068185], "MoR A, P")
        wanted = dict(x=x, sub=subs, **({"theta": theta} if variant == "D" else {"main": main}))
        upstream = torch.tensor([[1, -2, .5], [0, 0, 0]], dtype=torch.float64)
        gradients = torch.autograd.grad((probability * upstream).sum(), list(wanted.values()))
        if variant == "A":
            print("MoR A with dL/dP = [1, -2, .5] at x0: dW_m =", gradients[2].tolist())
            close(gradients[2], [[.248504, -.248504], [-.248504, .248504]], "MoR A, dW_m (elsewhere printed wrongly)")
            numeric = central_difference(lambda m: (mor_probability("A", x, subs, m)[0] * upstream[0]).sum(), main)
            assert torch.allclose(numeric, gradients[2], atol=1e-9)
        ops.add(f"published_mor_{variant.lower()}", "the MoR vectors: J=2, E=3, k=2; dprobability is dL/dP", dict(k=2, sub_routers=2),
                **wanted, expert=chosen, weight=weight, probability=probability, dprobability=upstream,
                **{"d" + n: g for n, g in zip(wanted, gradients)})


def central_difference(function, at, step=1e-6):
    result = torch.zeros_like(at)
    for index in range(at.numel()):
        offset = torch.zeros(at.numel(), dtype=torch.float64)
        offset[index] = step
        offset = offset.view_as(at)
        with torch.no_grad():
            result.view(-1)[index] = (function(at + offset) - function(at - offset)) / (2 * step)
    return result.detach()


def make_ops(seed):
    ops = Ops(seed)
    for part in (dense_ops, rope_ops, attention_ops, moe_ops, routing_ops, mor_ops, balance_ops, adamw_ops, published_vectors):
        part(ops)
    write_tensors(HERE / "ops.safetensors", ops.tensors, {})
    (HERE / "ops.json").write_text(json.dumps(dict(versions=VERSIONS, ops=ops.notes), indent=1) + "\n")
    print("ops:", len(ops.notes), "cases,", len(ops.tensors), "tensors")


# -------------------------------------------------------------------------------------------------------------- main
def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    print(VERSIONS)
    HERE.mkdir(parents=True, exist_ok=True)
    make_ops(20250101)
    for index, (name, (model_class, config)) in enumerate(checkpoint_configs().items()):
        state, tokens = make_checkpoint(name, model_class, config, 100 + 10 * index)
    make_adapter(config, state, tokens, 200)
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix in (".safetensors", ".json")]
    total = sum(path.stat().st_size for path in files)
    largest = max(files, key=lambda path: path.stat().st_size)
    print(len(files), "files,", total, "bytes; largest", largest.name, largest.stat().st_size)
    assert total < 900_000 and largest.stat().st_size < 250_000


if __name__ == "__main__":
    main()
