"""Makes tokenizers.json: small byte-level tokenizers in all their settings, texts, and what the tokenizers library makes of
them: ids, ids when special tokens are text, decoded texts.

    venv/bin/python tests/golden/make_tokenizers.py [FOLDER]

Ids below 256 are bytes. Made with tokenizers 0.23.3.
"""
import json
import pathlib
import random
import sys

import tokenizers

MERGES = ["Ġ a", "a b", "Ġa b", "Ġ Ġ", "ĠĠ ĠĠ", "l l", "h e", "he ll", "hell o", "Ġ hello", "1 2", "12 3", "Ã ©", "' s", "Ċ Ċ",
          "x x", "xx xx", "Ġ x", ". .", "a a", "aa a"]
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN = dict(GPT2, use_regex=False)
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
             r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(number, content, **flags):
    return {"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False} | flags


END = added(280, "<|end|>", special=True)
ADDED = [END, added(281, "cat", single_word=True), added(282, "[L]", lstrip=True), added(283, "[R]", rstrip=True, special=True),
         added(284, "caf\u00e9", normalized=True), added(285, "   "), added(286, "<|end|>x")]

CASES = {
    "gpt2": dict(pre_tokenizer=GPT2),
    "gpt2, prefix space": dict(pre_tokenizer=dict(GPT2, add_prefix_space=True)),
    "bytes only": dict(pre_tokenizer=PLAIN),
    "llama3": dict(pre_tokenizer=sequence(split(LLAMA3), PLAIN), whole=True),
    "llama3, template": dict(pre_tokenizer=sequence(split(LLAMA3), PLAIN), post_processor={"type": "Sequence", "processors": [
        GPT2, {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
                                                        {"Sequence": {"id": "A", "type_id": 0}}],
               "pair": [], "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [280], "tokens": ["<|end|>"]}}}]}),
    "qwen": dict(normalizer={"type": "NFC"}, pre_tokenizer=sequence(split(LLAMA3.replace("{1,3}", "")), PLAIN)),
    "deepseek3": dict(pre_tokenizer=sequence(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
                                             split(DEEPSEEK3), PLAIN)),
    "deepseek, lines": dict(pre_tokenizer=sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(r"\s+$"),
                                                   split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
                                                   {"type": "Digits", "individual_digits": True}, PLAIN)),
    "digits": dict(pre_tokenizer=sequence({"type": "Digits", "individual_digits": True}, GPT2)),
    "digits together": dict(pre_tokenizer=sequence({"type": "Digits", "individual_digits": False}, GPT2)),
    "words": dict(pre_tokenizer=sequence(split(r"\w+|[^\w\s]+"), PLAIN)),
    "not words": dict(pre_tokenizer=sequence(split(r"\W+"), PLAIN)),
    "han": dict(pre_tokenizer=sequence(split(r"\p{Han}+"), split(r"^\s+|\P{L}\d"), PLAIN)),
    "lines": dict(pre_tokenizer=sequence(split(r"^..|\s$|\u0061{2,}"), PLAIN)),
    "perhaps nothing": dict(pre_tokenizer=sequence(split("x*", "MergedWithNext"), PLAIN)),
    "added": dict(normalizer={"type": "NFC"}, pre_tokenizer=GPT2, added_tokens=ADDED),
}
for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
    for invert in (False, True):
        CASES[f"spaces, {behavior}{', invert' if invert else ''}"] = dict(
            pre_tokenizer=sequence(split(" ", behavior, invert, "String"), PLAIN))

TEXTS = ["", " ", "hello", " hello  hello", "ab ab  ab   ab    ab     ab", "It's HE'S we'll WE'LL a'\u017f", "a1b12c123d1234 12345",
         "caf\u00e9 cafe\u0301 caf\u00e9s", "\u6f22\u5b57\u3042\u30a2\uac01\u1100\u1161\u11a8 12 \u6f22 ab\u6f22ab", "x xx xxx xxxx x x  x",
         "line\nline\r\n\r\nline \n  line\n\n", "  \t ab\u00a0\u3000 \u180e ab\u2028ab\u0085ab ", "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea ...!?",
         "<|end|>", "ab<|end|> ab<|end|>x <|end|>", "cat cats a-cat cat_ cat\u0301 \u200dcat catcat \u24d0cat cat\u00bd",
         "ab  [L] ab[L][L] [R]  ab [R][L]", "ab   ab    ab [L]   [R]   ", "\u0663\u0664\u00bd\u2163\u2075 \u0e51", "foo_bar(x)=y;//z", "\0 \x7f\x01",
         "o\u0323\u0302 \u1ed9 o\u0302\u0323 \u212b\u2126\u0344\u0f71\u0f72\u0f80 \u0958", "\u4e00\u9fa5\u9fff\u3400\U00020000\u3005\u3007\u00b7", "aaa aa a",
         "\U0010ffff\ue000\ufffd\ufeff", "\u0915\u094d\u0937\u093f \u0e01\u0e33", "..  ..a", "((a))  [b] {c}"]


def byte_characters():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    names = {byte: chr(byte) for byte in own}
    for byte in range(256):
        names.setdefault(byte, chr(256 + len(names) - len(own)))
    return [names[byte] for byte in range(256)]


def model(ignore_merges):
    pieces = byte_characters() + [merge.replace(" ", "") for merge in MERGES] + ["Ġhe", "He", "Ã©Ã"]
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
            "vocab": {piece: number for number, piece in enumerate(pieces)}, "merges": MERGES}


def random_texts():
    draw = random.Random(2)
    parts = [part for text in TEXTS for part in (text, text[:2], text[-3:])]
    return ["".join(draw.choice(parts) for _ in range(draw.randint(2, 4))) for _ in range(12)]


def main():
    out = {"model": model(False), "whole": model(True), "texts": TEXTS + random_texts(), "cases": []}
    for name, parts in CASES.items():
        parts = dict(parts)
        whole = parts.pop("whole", False)
        file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [END], "normalizer": None,
                "post_processor": GPT2, "decoder": GPT2} | parts
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(file | {"model": model(whole)}))
        case = {"name": name, "whole": whole, "tokenizer": file}
        for key, as_text in (("ids", False), ("plain", True)):
            tokenizer.encode_special_tokens = as_text
            case[key] = [tokenizer.encode(text).ids for text in out["texts"]]
            if as_text:  # only where it differs
                case[key] = {i: ids for i, ids in enumerate(case[key]) if ids != case["ids"][i]}
        case["decoded"] = {i: text for i, ids in enumerate(case["ids"])
                           if (text := tokenizer.decode(ids, skip_special_tokens=False)) != out["texts"][i]}
        out["cases"].append(case)
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    text = json.dumps(out, ensure_ascii=False, separators=(",", ":")).replace('{"name"', '\n{"name"')
    (folder / "tokenizers.json").write_text(text + "\n")


main()
