"""Merged and exported checkpoints and adapters, ours beside transformers + PEFT: the same logits, for every target set.

    python hf_parity.py --moegrad ./build/apps/moegrad [--work DIR] [--only TEXT] [--bound 1e-4]

Makes small random Llama and Mixtral folders (per-expert and fused names, one file and shards, tied, bfloat16), trains a few
steps through `moegrad train` for each target set, and compares on one batch of tokens:

    adapter   logits of `moegrad forward --adapter` and of PEFT on the folder that `moegrad export --to peft` wrote,
              with the base that the folder names
    back      logits of PEFT and of `moegrad forward` on the adapter that PEFT saves when it has read that folder
    run       as `adapter` for the adapter as `moegrad train` wrote it ("-": PEFT does not read that set in that form)
    merged    logits of `moegrad forward --adapter` and of transformers on what `moegrad merge` wrote (of a bfloat16 base
              with `--dtype float32`: live and merged differ by bfloat16's rounding otherwise)
    again     logits of `moegrad forward` and of transformers on what `moegrad merge` wrote in the base's own type

Prints a table of the largest differences; ends with 1 if one is above the bound or an adapter did not move the logits.
Needs torch, transformers 5 and peft 0.19 or later.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SHAPE = dict(vocab_size=288, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, head_dim=8, max_position_embeddings=128, initializer_range=0.15)
MIXTURE = dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None, router_aux_loss_coef=0.0)

DENSE = [["q_proj"], ["v_proj"], ["q_proj", "v_proj"], ["attention"], ["gate_proj"], ["down_proj"], ["mlp"], ["all"]]
EXPERTS = [["q_proj"], ["attention"], ["experts"], ["experts.gate_up"], ["experts.down"], ["w1", "w3"], ["w2"],
           ["w1", "w2", "w3"], ["attention", "experts"], ["attention", "w1", "w2", "w3"], ["all"]]


def base_folders(work):
    """name -> (folder, family). Each is random with a fixed seed."""
    llama = lambda **more: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **more))
    mixtral = lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**SHAPE, **MIXTURE))
    made = {}
    for name, family, build, options in [
            ("llama", "dense", lambda: llama(tie_word_embeddings=False), {}),
            ("llama-tied", "dense", lambda: llama(tie_word_embeddings=True), {}),
            ("mixtral", "experts", mixtral, {}),
            ("mixtral-shards", "experts", mixtral, dict(max_shard_size="60KB")),
            ("mixtral-fused", "experts", mixtral, dict(save_original_format=False)),
            ("llama-bf16", "dense", lambda: llama(tie_word_embeddings=False).bfloat16(), {}),
            ("mixtral-bf16", "experts", lambda: mixtral().bfloat16(), {})]:
        torch.manual_seed(7)
        folder = work / name
        build().save_pretrained(folder, **options)
        write_tokenizer(folder)
        made[name] = (folder, family)
    return made


def write_tokenizer(folder):
    """Bytes only: 3 special tokens, then <0x00> to <0xFF>."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)}}
    special = [dict(id=i, content=text, special=True, single_word=False, lstrip=False, rstrip=False, normalized=False)
               for i, text in enumerate(["<unk>", "<s>", "</s>"])]
    model = dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None, end_of_word_suffix=None,
                 fuse_unk=True, byte_fallback=True, vocab=vocabulary, merges=[])
    decoder = dict(type="Sequence", decoders=[dict(type="ByteFallback"), dict(type="Fuse")])
    text = dict(version="1.0", truncation=None, padding=None, added_tokens=special, normalizer=None, pre_tokenizer=None,
                post_processor=None, decoder=decoder, model=model)
    (folder / "tokenizer.json").write_text(json.dumps(text))


class Parity:
    def __init__(self, arguments, work):
        self.moegrad, self.work, self.bound = arguments.moegrad, work, arguments.bound
        generator = torch.Generator().manual_seed(3)
        self.tokens = torch.randint(3, 259, (2, 24), generator=generator)
        save_file({"tokens": self.tokens}, work / "tokens.safetensors")
        (work / "text.txt").write_text("".join(f"{n} times {n + 1} is {n * (n + 1)}. " for n in range(200)))

    def command(self, *words):
        done = subprocess.run([self.moegrad, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"moegrad {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ours(self, folder, adapter=None):
        out = self.work / "out.safetensors"
        more = [] if adapter is None else ["--adapter", adapter]
        self.command("forward", "--model", folder, *more, "--tokens", self.work / "tokens.safetensors", "--out", out)
        return load_file(out)["logits"]

    def theirs(self, folder, adapter=None, save=None):
        options = dict(dtype=torch.float32, attn_implementation="eager")
        if folder is None:
            model = peft.AutoPeftModelForCausalLM.from_pretrained(adapter, **options)
        else:
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
            if adapter is not None:
                model = peft.PeftModel.from_pretrained(model, adapter)
        if save is not None:
            model.save_pretrained(save)
        with torch.no_grad():
            return model.eval()(input_ids=self.tokens).logits

    def train(self, folder, targets, router, run, rslora):
        more = ["--router.mode", router] if router else []
        if rslora:
            more += ["--adapter.use_rslora", "true"]
        self.command("train", "--model", folder, "--data", self.work / "text.txt", "--data.max_length", 32, "--steps", 4,
                     "--train.batch", 4, "--lr", "0.02", "--adapter.r", 3, "--adapter.lora_alpha", 7, "--adapter.target",
                     ",".join(targets), "--eval.samples", 2, *more, "--out", run)
        return run / "adapter"

    def measure(self, name, folder, targets, router, rslora=False):
        """-> differences by kind; None where PEFT does not read the adapter."""
        case = self.work / "_".join([name, *targets, router or "frozen", "rs" if rslora else ""])
        shutil.rmtree(case, ignore_errors=True)
        adapter = self.train(folder, targets, router, case / "run", rslora)
        both = ["--model", folder, "--adapter", adapter, "--out"]
        self.command("export", "--to", "peft", *both, case / "peft")
        self.command("merge", *both, case / "merged")
        self.command("export", "--to", "hf", "--dtype", "float32", *both, case / "wide")
        apart = lambda a, b: (a - b).abs().max().item()
        live, merged = self.ours(folder, adapter), self.theirs(case / "merged")
        from_peft = self.theirs(None, case / "peft", save=case / "back")
        result = dict(adapter=apart(live, from_peft), back=apart(from_peft, self.ours(folder, case / "back")), run=None,
                      merged=apart(live, self.theirs(case / "wide") if name.endswith("bf16") else merged),
                      again=apart(self.ours(case / "merged"), merged), moved=apart(live, self.ours(folder)))
        try:
            result["run"] = apart(live, self.theirs(folder, adapter))
        except Exception as error:  # whatever PEFT raises for a form that it does not know
            result["why"] = str(error).splitlines()[0][:90]
        return result


def cases(bases, only):
    for name, (folder, family) in bases.items():
        for targets in DENSE if family == "dense" else EXPERTS:
            for router in [None] if family == "dense" else [None, "lora", "full"]:
                for rslora in [False, True] if targets in (["all"], ["w1", "w2", "w3"]) else [False]:
                    if only in f"{name} {','.join(targets)} {router}":
                        yield name, folder, targets, router, rslora


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moegrad", required=True, help="the built command line")
    parser.add_argument("--work", help="folder to work in; by default one that vanishes")
    parser.add_argument("--only", default="", help="cases whose line has this text")
    parser.add_argument("--bound", type=float, default=1e-4)
    arguments = parser.parse_args()
    keep = arguments.work or tempfile.TemporaryDirectory()
    work = pathlib.Path(keep if arguments.work else keep.name)
    work.mkdir(parents=True, exist_ok=True)
    parity, bad, count = Parity(arguments, work), 0, 0
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    print(f"{'base':<15}{'targets':<22}{'gate':<14}{'adapter':>9}{'back':>9}{'run':>9}{'merged':>9}{'again':>9}{'moved':>7}")
    for name, folder, targets, router, rslora in cases(base_folders(work), arguments.only):
        got = parity.measure(name, folder, targets, router, rslora)
        held = ["adapter", "back", "merged", "again"]
        wrong = [kind for kind in held if not got[kind] <= arguments.bound] + ([] if got["moved"] > 0.01 else ["moved"])
        show = lambda value: "-" if value is None else f"{value:.1e}"
        numbers = "".join(f"{show(got[kind]):>9}" for kind in ["adapter", "back", "run", "merged", "again"])
        gate = (router or "frozen") + (" rslora" if rslora else "")
        print(f"{name:<15}{','.join(targets):<22}{gate:<14}{numbers}{got['moved']:>7.2f}" +
              (f"   WRONG: {', '.join(wrong)}" if wrong else ""), flush=True)
        bad, count = bad + bool(wrong), count + 1
    print(f"{count} cases, {bad} wrong")
    return 1 if bad or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
