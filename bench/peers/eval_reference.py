"""Scores multiple-choice questions with transformers in float32, one sequence at a time, and compares with `moegrad eval`.

    python eval_reference.py MODEL_DIR TASK.jsonl FORMAT ITEMS.jsonl [--limit N] [--dtype float64]

FORMAT: arc_easy or boolq. ITEMS.jsonl is what `moegrad eval` wrote for the same task. Rules of lm-evaluation-harness:
context + continuation encoded as one string, cut at the length of the context's encoding; texts longer than the model's
positions lose tokens at their left. Prints the largest difference of a log-likelihood and the accuracies; exit 1 when a
difference is above 1e-4 or a choice differs.
"""
import argparse
import json
import sys

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, MixtralForCausalLM


def prompt(item, form):
    if form == "arc_easy":
        return f"Question: {item['question']}\nAnswer:"
    question = item["question"].removesuffix("?")
    return f"{item['context']}\nQuestion: {question}?\nAnswer:"


def encode_pair(tokenizer, context, continuation):
    spaces = len(context) - len(context.rstrip())
    if spaces:
        continuation = context[-spaces:] + continuation
        context = context[:-spaces]
    whole = tokenizer(context + continuation)["input_ids"]
    return whole, len(tokenizer(context)["input_ids"])


@torch.no_grad()
def loglikelihood(model, ids, context, longest):
    asked = ids[context:]
    inputs = ids[-(longest + 1):][:-1]
    logits = model(torch.tensor([inputs])).logits[0, -len(asked):]
    picked = torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(asked)[:, None])
    return picked.double().sum().item()


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "task", "format", "items"):
        parser.add_argument(name)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--dtype", default="float32", help="float64 says how far float32 itself is off")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    family = json.load(open(args.model + "/config.json"))["model_type"]
    load = MixtralForCausalLM if family == "mixtral" else LlamaForCausalLM
    model = load.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()
    longest = model.config.max_position_embeddings
    ours = [json.loads(line) for line in open(args.items)]
    items = [json.loads(line) for line in open(args.task)][: args.limit or len(ours)]
    assert len(items) == len(ours) and all(a["id"] == b["id"] for a, b in zip(items, ours))
    worst, where, differing, right, right_norm, cut = 0.0, None, [], 0, 0, 0
    for item, mine in zip(items, ours):
        pairs = [encode_pair(tokenizer, prompt(item, args.format), " " + c) for c in item["choices"]]
        cut += any(len(ids) > longest + 1 for ids, _ in pairs)
        scores = [loglikelihood(model, ids, context, longest) for ids, context in pairs]
        chosen = max(range(len(scores)), key=lambda i: scores[i])
        norm = max(range(len(scores)), key=lambda i: scores[i] / len(item["choices"][i]))
        right += chosen == item["answer"]
        right_norm += norm == item["answer"]
        off = max(abs(a - b) for a, b in zip(scores, mine["loglikelihood"]))
        if off > worst:
            worst, where = off, (item["id"], max(len(ids) - context for ids, context in pairs))
        if (chosen, norm) != (mine["chosen"], mine["chosen_norm"]):
            differing.append(item["id"])
    n = len(items)
    print(f"{args.task}: {n} items, {cut} cut at the left, acc {right / n:.6f}, acc_norm {right_norm / n:.6f}, "
          f"largest difference {worst:.2e} (item, tokens of its longest choice: {where}), choices that differ: {len(differing)} {differing[:5]}")
    sys.exit(worst > 1e-4 or bool(differing))


if __name__ == "__main__":
    main()
