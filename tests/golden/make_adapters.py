"""Adapters of mixture models as four programs write them, with the update of every weight that they mean.

    python3 -m venv venv && venv/bin/pip install torch transformers "peft>=0.19.1" safetensors numpy
    venv/bin/pip install --no-deps --target old "peft==0.18.1"
    venv/bin/python tests/golden/make_adapters.py tests/golden/adapters          # PEFT 0.21.2 and the hand-written ones
    PYTHONPATH=old venv/bin/python tests/golden/make_adapters.py tests/golden/adapters   # adds those of PEFT 0.18.1

A folder per case: adapter_config.json and adapter_model.safetensors as PEFT saves them, and delta.safetensors: for every
weight that changes (under its name in transformers 5, experts stacked) scale B A, from PEFT's own get_delta_weight; for
the layouts that no PEFT reads, from the sum written out over e, j. All values are whole numbers, so the updates are exact.
"""
import json
import pathlib
import sys

import numpy
import peft
import safetensors.torch
import torch
from torch import nn

OLD = tuple(int(part) for part in peft.__version__.split(".")[:3]) < (0, 19, 1)
HERE = pathlib.Path(sys.argv[1])
LAYERS, HEADS, HEAD = 2, 2, 4  # hidden size 8


class Fused(nn.Module):
    def __init__(self, experts, hidden, width):
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.zeros(experts, 2 * width, hidden))
        self.down_proj = nn.Parameter(torch.zeros(experts, hidden, width))


class Expert(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.w1 = nn.Linear(hidden, width, bias=False)
        self.w2 = nn.Linear(width, hidden, bias=False)
        self.w3 = nn.Linear(hidden, width, bias=False)


class Layer(nn.Module):
    def __init__(self, experts, hidden, width, single):
        super().__init__()
        self.self_attn = nn.Module()
        for name, rows in (("q_proj", HEADS * HEAD), ("k_proj", HEAD), ("v_proj", HEAD), ("o_proj", hidden)):
            setattr(self.self_attn, name, nn.Linear(hidden, rows, bias=False))
        block = nn.Module()
        block.gate = nn.Linear(hidden, experts, bias=False)
        block.experts = (nn.ModuleList(Expert(hidden, width) for _ in range(experts)) if single
                         else Fused(experts, hidden, width))
        setattr(self, "block_sparse_moe" if single else "mlp", block)


class Model(nn.Module):
    def __init__(self, experts, hidden, width, single):
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(Layer(experts, hidden, width, single) for _ in range(LAYERS))

    def forward(self, x):
        return x


def whole_numbers(tensor, seed):
    values = numpy.random.RandomState(seed).permutation(tensor.numel()) % 19 - 9
    return torch.from_numpy(values.astype(numpy.float32)).reshape(tensor.shape)


def updates_of(model):
    """scale B A of every adapted weight, from PEFT, under the names of transformers 5 and not yet stacked."""
    found = {}
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A") or "default" not in module.lora_A:
            continue
        path = name.removeprefix("base_model.model.").replace(".base_layer", "")
        if hasattr(module, "parameter_name"):
            path += "." + module.parameter_name
        found[path] = module.get_delta_weight("default").detach().clone()
    return found


def stacked(found, experts):
    out = {}
    for layer in range(LAYERS):
        old, new = f"model.layers.{layer}.block_sparse_moe", f"model.layers.{layer}.mlp"
        def expert(name):
            return [found.pop(f"{old}.experts.{e}.{name}", None) for e in range(experts)]
        w1, w2, w3 = expert("w1"), expert("w2"), expert("w3")
        if w1[0] is not None:
            out[new + ".experts.gate_up_proj"] = torch.stack([torch.cat(pair) for pair in zip(w1, w3)])
        if w2[0] is not None:
            out[new + ".experts.down_proj"] = torch.stack(w2)
        if old + ".gate" in found:
            out[new + ".gate.weight"] = found.pop(old + ".gate")
    for name, value in found.items():
        out[name if name.endswith("gate_up_proj") or name.endswith("down_proj") else name + ".weight"] = value
    return out


def write(case, experts, width, lora, single=False, hidden=8):
    model = peft.get_peft_model(Model(experts, hidden, width, single), peft.LoraConfig(lora_dropout=0.0, bias="none", **lora))
    with torch.no_grad():
        for seed, (_, parameter) in enumerate(sorted(model.named_parameters())):
            if parameter.requires_grad:
                parameter.copy_(whole_numbers(parameter, seed))
    folder = HERE / case
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    finish(folder, stacked(updates_of(model), experts), experts, width, hidden)


def finish(folder, updates, experts, width, hidden, change=None):
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    for key in ("target_modules", "target_parameters", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    config["base_model_name_or_path"] = None
    config.update(change or {})
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "adapter_model.safetensors").chmod(0o644)
    sizes = {"experts": str(experts), "hidden": str(hidden), "width": str(width)}
    safetensors.torch.save_file({name: value.contiguous() for name, value in sorted(updates.items())},
                                folder / "delta.safetensors", metadata=sizes)
    (folder / "delta.safetensors").chmod(0o644)


def expert_major(source, case, experts, rank, hidden, width, swapped):
    """The same file read as Unsloth's kernels read it: column e r + j of lora_B is rank j of expert e."""
    weights = safetensors.torch.load_file(HERE / source / "adapter_model.safetensors")
    folder = HERE / case
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text((HERE / source / "adapter_config.json").read_text())
    safetensors.torch.save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    updates = {name: value for name, value in safetensors.torch.load_file(HERE / source / "delta.safetensors").items()
               if ".mlp." not in name}
    for layer in range(LAYERS):
        path = f"model.layers.{layer}.mlp.experts"
        for key, name, shape in ((".base_layer", "gate_up_proj", (experts, 2 * width, hidden)),
                                 ("", "down_proj", (experts, hidden, width))):
            a = weights[f"base_model.model.{path}{key}.lora_A.weight"]
            b = weights[f"base_model.model.{path}{key}.lora_B.weight"]
            delta = torch.zeros(shape)
            for e in range(experts):
                for j in range(rank):
                    outer = torch.outer(b[:, e * rank + j], a[e * rank + j])
                    delta[e] += 2 * (outer.T if swapped else outer)
            updates[path + "." + name] = delta
    finish(folder, updates, experts, width, hidden, {"auto_mapping": {"unsloth_fixed": True}})


BOTH = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
SIZES = {"plain": (3, 2, 6), "e_is_r": (3, 3, 6), "square": (3, 2, 4)}  # experts, rank, width; square: hidden = 2 width


def fused(prefix):
    for word, (experts, rank, width) in SIZES.items():
        write(f"{prefix}_{word}", experts, width,
              dict(r=rank, lora_alpha=2 * rank, target_modules=["q_proj"], target_parameters=BOTH))
    write(f"{prefix}_square_up", 3, 4, dict(r=2, lora_alpha=4, target_modules=[], target_parameters=BOTH[:1]))
    write(f"{prefix}_down", 3, 6, dict(r=2, lora_alpha=4, target_modules=[], target_parameters=BOTH[1:]))


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    fused("peft_018" if OLD else "peft_021")
    for word, (experts, rank, width) in SIZES.items():
        source = ("peft_018_" if OLD else "peft_021_") + word
        expert_major(source, ("unsloth_017_" if OLD else "unsloth_") + word, experts, rank, 8, width, OLD)
    if OLD:
        return
    every = ["q_proj", "gate", "w1", "w2", "w3"]
    write("modules_all", 3, 6, dict(r=2, lora_alpha=4, target_modules=every), single=True)
    write("modules_layer", 3, 6, dict(r=2, lora_alpha=4, target_modules=["q_proj", "w1", "w3"], layers_to_transform=[1],
                                      exclude_modules=["k_proj"]), single=True)
    write("modules_ranks", 3, 6, dict(
        r=2, lora_alpha=4, target_modules=r"model\.layers\.\d+\.(?:self_attn\.[qv]_proj|.*\.w[1-3])",
        rank_pattern={"q_proj": 4, r"layers\.1\..*\.w2": 1}, alpha_pattern={"q_proj": 12, r"layers\.1\..*\.w2": 3}),
          single=True)
    write("modules_linear", 3, 6, dict(r=2, lora_alpha=4, target_modules="all-linear", exclude_modules=".*k_proj"), single=True)
    write("fused_ranks", 3, 6, dict(
        r=2, lora_alpha=4, target_modules=["v_proj"], target_parameters=BOTH,
        rank_pattern={"layers.0.mlp.experts.down_proj": 4}, alpha_pattern={"layers.0.mlp.experts.down_proj": 4}))


main()
