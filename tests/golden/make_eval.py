"""Makes eval/: a character tokenizer, a few questions and one text, and what PyTorch says of them.

    venv/bin/python tests/golden/make_eval.py [FOLDER]

Log-likelihoods are sums over the tokens of a continuation in float64, from the float32 weights of llama_tiny and
mixtral_tiny (64 positions: the longer questions lose tokens at their left). Prompts and windows are written here from the
rules of lm-evaluation-harness and share nothing with the library.
"""
import json
import pathlib
import sys

import torch
from transformers import LlamaForCausalLM, MixtralForCausalLM, PreTrainedTokenizerFast

ITEMS = [
    {"id": "a", "domain": "sea", "level": 1, "question": "What swims?", "choices": ["a fish", "a stone", "the old tree"],
     "answer": 0, "fact": [[5, 10]]},
    {"id": "b", "domain": "sea", "level": 2, "context": "Ben has 3 cats and 12 dogs.", "question": "how many cats?",
     "choices": ["3", "12"], "answer": 0},
    {"id": "c", "domain": "land", "level": 1, "question": "one letter", "choices": ["x", "y", "z", "w"], "answer": 2},
    {"id": "d", "domain": "land", "level": 2, "context": "The man is on the roof. [header] He [title] starts  to",
     "question": "", "choices": ["fall [step] off.", "sing a  song."], "answer": 1},
    {"id": "e", "domain": "land", "level": 3,
     "context": "A long story that does not fit into the model at all, so that its beginning must go.",
     "question": "does it fit", "choices": ["yes", "no"], "answer": 1},
    {"id": "f", "domain": "sea", "level": 3, "question": "Sam gave Tom the cup as _ was thirsty.", "choices": ["Sam", "Tom"],
     "answer": 1},
]
TEXT = ("The sea was calm and the boat went on. Ben looked at the stars, and then he looked at the map. "
        "It was a long way home. They sang a song until the sun came up.\nThen they slept.")


def tokenizer_json():
    pieces = ["<unk>", "<s>", "</s>", "▁", "\n"] + list("abcdefghijklmnopqrstuvwxyz") + list("ABCDEHIMOQSTW")
    pieces += list("0123456789") + list(".,?:'_[]-")
    merges = ["t h", "▁ t", "▁t h", "▁th e", "i n", "o n", "▁ a", "a n", "s t", "o u", "▁ w", "▁ s"]
    pieces += [m.replace(" ", "") for m in merges]
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, c in enumerate(pieces[:3])]
    start = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": start, "pair": start,
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
                  "vocab": {p: i for i, p in enumerate(pieces)}, "merges": merges},
    }


def clean(text):  # HellaSwag
    text = text.strip().replace(" [title]", ". ")
    while "[" in text and "]" in text[text.index("["):]:
        a = text.index("[")
        text = text[:a] + text[text.index("]", a) + 1:]
    return text.replace("  ", " ")


def pairs(item, form):
    context, question, choices = item.get("context", ""), item["question"], item["choices"]
    both = " ".join(x for x in (context, question) if x)
    letters = "ABCDE"[: len(choices)]
    listed = "".join(f"\n{letter}. {choice}" for letter, choice in zip(letters, choices))
    if form == "world":
        return [(both, " " + c) for c in choices], choices
    if form == "arc_easy":
        return [(f"Question: {question}\nAnswer:", " " + c) for c in choices], choices
    if form == "boolq":
        return [(f"{context}\nQuestion: {question.rstrip('?')}?\nAnswer:", " " + c) for c in choices], choices
    if form == "siqa":
        return [(f"Q: {context} {question}\nA:", " " + c) for c in choices], choices
    if form == "hellaswag":
        return [(clean(both), " " + clean(c)) for c in choices], [clean(c) for c in choices]
    if form == "csqa":
        return [(f"Question: {question.strip()}{listed}\nAnswer:", " " + c) for c in letters], list(letters)
    if form == "letter":  # arc_easy with the choices listed
        return [(f"Question: {question}{listed}\nAnswer:", " " + c) for c in letters], list(letters)
    if form == "winogrande":
        before, after = both.split("_", 1)
        return [(before + c, " " + after.strip()) for c in choices], [after.strip()] * len(choices)
    raise ValueError(form)


@torch.no_grad()
def log_probabilities(model, inputs, asked):
    logits = model(torch.tensor([inputs])).logits[0, -len(asked):]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(asked)[:, None])[:, 0]


def score(model, tokenizer, context, continuation, longest):
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole = tokenizer(context + continuation)["input_ids"]
    cut = len(tokenizer(context)["input_ids"])
    asked = whole[cut:]
    inputs = whole[-(longest + 1):][:-1]
    return log_probabilities(model, inputs, asked).sum().item(), whole, cut


def rolling(model, ids, longest):
    """Every id after BOS once; later windows are full."""
    total, done = 0.0, 1
    while done < len(ids):
        new = min(len(ids) - done, longest)
        end = done + new
        total -= log_probabilities(model, ids[max(0, end - 1 - longest): end - 1], ids[done:end]).sum().item()
        done = end
    return total


def main():
    here = pathlib.Path(__file__).resolve().parent
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here) / "eval"
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False, indent=1) + "\n")
    (out / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    (out / "text.txt").write_text(TEXT)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(out / "tokenizer.json"))
    assert len(tokenizer) <= 96
    forms = ["world", "arc_easy", "boolq", "siqa", "hellaswag", "csqa", "letter"]
    reference = {}
    for name, load in (("llama_tiny", LlamaForCausalLM), ("mixtral_tiny", MixtralForCausalLM)):
        model = load.from_pretrained(here / name, dtype=torch.float32, experts_implementation="eager").double().eval()
        longest = model.config.max_position_embeddings
        result = {}
        for form in forms + ["winogrande"]:
            items = []
            for item in ITEMS:
                if (form == "winogrande") != (item["id"] == "f") and form == "winogrande":
                    continue
                contexts, counted = pairs(item, form)
                scored = [score(model, tokenizer, a, b, longest) for a, b in contexts]
                ll = [s[0] for s in scored]
                best = lambda size: max(range(len(ll)), key=lambda i: ll[i] / size(counted[i]))
                right = scored[item["answer"]]
                items.append({"id": item["id"], "loglikelihood": ll, "chosen": best(lambda c: 1),
                              "chosen_norm": best(len), "ids": right[1], "context": right[2],
                              "truncated": any(len(s[1]) > longest + 1 for s in scored)})
            result[form] = items
        ids = tokenizer(TEXT)["input_ids"]
        result["text"] = {str(longest): {"nll": rolling(model, ids, longest), "tokens": len(ids) - 1}
                          for longest in (16, 64)}
        reference[name] = result
    (out / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
