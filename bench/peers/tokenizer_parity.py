#!/usr/bin/env python3
"""Ids and decoded texts of `moegrad tokenizer` against the tokenizers library: published vectors, real texts, random
Unicode strings. Prints one line for each tokenizer and ends with status 1 on any difference.

  tokenizer_parity.py --moegrad COMMAND --data FOLDER [--work FOLDER] [--strings N]

FOLDER of --data holds tokenizers/ and text/. Needs: tokenizers. The tokenizer.json of Llama-3 and Qwen3 is made by
`moegrad tokenizer --from`, of Llama-2 and Mistral here, with the steps that transformers' converter writes; these two
are also read as tokenizer.model.
"""
import argparse
import collections
import json
import pathlib
import random
import struct
import subprocess
import sys
import unicodedata

import tokenizers

SPACES = " \u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\t\n\r\v\f\x85\u180e\u200b"
PIECES = ["'s", "'S", "'ll", "'LL", "'\u017f", "  ", "   ", "\n\n", "\r\n", " \n", "\t\t", "e\u0301", "\u00e9", "o\u0323\u0302",
          "\u1100\u1161\u11a8", "\uac01", "\u0928\u093c", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
          "\u0f71\u0f72", "\u212b", "\u2126", "\ufb01", "\u0344", "1234567", "\u0663\u0664", "\u00bd", "\u2163", "3.14",
          "hello", " world", "It's", "WE'VE", "\u6f22\u5b57", "\u3042\u30a2", "foo_bar", "x=1;", "...", "!!", "\u2581", "\u0120",
          "<|endoftext|>", "<|begin_of_text|>", "<|im_start|>", "<s>", "</s>", "<unk>", "|||IP_ADDRESS|||", "<0x0A>", "\0"]


def random_strings(count, seed):
    """Half from pieces that tokenizers stumble over, half from all of Unicode as this Python knows it."""
    draw = random.Random(seed)
    known = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    for number in range(count):
        length = draw.randint(1, 40)
        if number % 2:
            yield "".join(draw.choice(PIECES) if draw.random() < 0.6 else
                          draw.choice(SPACES) if draw.random() < 0.5 else chr(draw.randint(32, 0x250)) for _ in range(length))
        else:
            block = draw.randrange(len(known))
            yield "".join(chr(known[min(block + draw.randint(0, 400), len(known) - 1)] if draw.random() < 0.7 else
                              draw.choice(known)) for _ in range(length))


def chunks(folder, size=20000):
    for path in sorted(folder.rglob("*.txt")):
        text = path.read_bytes().decode("utf-8", errors="replace")
        yield from (text[i:i + size] for i in range(0, len(text), size))


def fields(data):
    """Number and value of the fields of a protobuf message."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            shift += 7
            at += 1
            if data[at - 1] < 128:
                return value, at
    at = 0
    while at < len(data):
        tag, at = varint(at)
        if tag & 7 == 0:
            value, at = varint(at)
        else:
            size, at = varint(at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


def llama_json(model, path):
    pieces = []
    for number, value in fields(model.read_bytes()):
        if number == 1:
            piece = dict(fields(value))
            pieces.append((piece[1].decode(), struct.unpack("<f", piece[2])[0], piece.get(3, 1)))
    ids = {piece: i for i, (piece, _, _) in enumerate(pieces)}
    merges = sorted((-score, ids[piece], ids[piece[:i]], ids[piece[i:]]) for piece, score, kind in pieces if kind == 1
                    for i in range(1, len(piece)) if piece[:i] in ids and piece[i:] in ids)
    text = {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": piece, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for i, (piece, _, kind) in enumerate(pieces)
                             if kind in (2, 3)],
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "pre_tokenizer": None, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": ids, "merges": [[pieces[a][0], pieces[b][0]] for _, _, a, b in merges]}}
    path.write_text(json.dumps(text, ensure_ascii=False))


class Moegrad:
    def __init__(self, command, folder, work):
        self.command, self.folder, self.file = command, folder, work / "lines.jsonl"

    def run(self, records, *flags):
        self.file.write_text("".join(json.dumps(record) + "\n" for record in records))
        made = subprocess.run([self.command, "tokenizer", "--model", self.folder, "--lines", self.file, *flags],
                              capture_output=True, check=True)
        return made.stdout.decode().split("\n")[:-1]

    def encode(self, texts, *flags):
        return [list(map(int, line.split())) for line in self.run(({"text": text} for text in texts), "--no-bos", *flags)]

    def decode(self, ids):
        return [json.loads(line) for line in self.run(({"ids": row} for row in ids))]


def vectors(folder, name):
    texts = (folder / f"{name}.inp").read_text().split("\n__ggml_vocab_test__\n")
    lines = (folder / f"{name}.out").read_text().split("\n")
    return texts, [list(map(int, line.split())) for line in lines[:len(texts)]]


def compare(name, ours, theirs, texts, strings):
    """Differences in ids of texts and strings, in texts decoded from those ids and from random ones. The library's NFC has
    older tables than Unicode 14: where it differs, it gets the text in this Python's NFC, and what is equal then counts
    apart."""
    tokens = different = decoded = newer = 0
    for rows, special in ((texts, False), (strings, True), (strings, False)):
        theirs.encode_special_tokens = not special
        mine = ours.encode(rows, *(["--special"] if special else []))
        for row, ids, other in zip(rows, mine, theirs.encode_batch(rows, add_special_tokens=False), strict=True):
            tokens += len(other.ids)
            if ids != other.ids:
                normal = unicodedata.normalize("NFC", row)
                if "NFC" in str(theirs.normalizer) and ids == theirs.encode(normal, add_special_tokens=False).ids:
                    newer += 1
                    continue
                different += 1
                if different < 4:
                    print(f"  {row[:80]!r}\n    ours   {ids[:60]}\n    theirs {other.ids[:60]}")
    draw = random.Random(5)
    rows = [[draw.randrange(theirs.get_vocab_size()) for _ in range(draw.randint(1, 20))] for _ in range(20000)]
    rows += mine[:20000]
    for row, text, other in zip(rows, ours.decode(rows), theirs.decode_batch(rows), strict=True):
        if text != other:
            decoded += 1
            if decoded < 4:
                print(f"  {row}\n    ours   {text!r}\n    theirs {other!r}")
    print(f"{name}: {len(texts)} texts and 2 x {len(strings)} strings, {tokens} tokens: {different} differ"
          f"{f' ({newer} by newer marks)' if newer else ''}; "
          f"{len(rows)} id lists decoded: {decoded} differ", flush=True)
    return different + decoded


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--moegrad", required=True)
    flags.add_argument("--data", type=pathlib.Path, required=True)
    flags.add_argument("--work", type=pathlib.Path, default=pathlib.Path("tokenizer-parity"))
    flags.add_argument("--strings", type=int, default=100000)
    flags.add_argument("--only", default="")
    args = flags.parse_args()
    source = args.data / "tokenizers"
    args.work.mkdir(parents=True, exist_ok=True)
    folders = {"gpt-2": source / "gpt2", "olmoe": source / "olmoe"}
    for name, kind, files in (("llama-3", "llama-3", ["llama3/tokenizer.model"]),
                              ("qwen3", "qwen2", ["qwen3/vocab.txt", "qwen3/merges.txt"])):
        folders[name] = args.work / name
        if not (folders[name] / "tokenizer.json").exists():
            subprocess.run([args.moegrad, "tokenizer", "--kind", kind, "--out", folders[name], "--from",
                            ",".join(str(source / file) for file in files)], check=True)
    for name in ("llama2", "mistral_v1"):
        folders[name] = args.work / name
        folders[name].mkdir(exist_ok=True)
        llama_json(source / name / "tokenizer.model", folders[name] / "tokenizer.json")
    bad = 0
    published = {"gpt-2": "gpt-2", "llama-3": "llama-bpe", "qwen3": "qwen2", "llama2": "llama-spm"}
    texts, strings = list(chunks(args.data / "text")), list(random_strings(args.strings, 1))
    for name, folder in folders.items():
        if args.only and name != args.only:
            continue
        ours = Moegrad(args.moegrad, folder, args.work)
        theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        if name in published:
            cases, ids = vectors(source / "vectors", published[name])
            equal = sum(a == b for a, b in zip(ours.encode(cases), ids, strict=True))
            back = sum(a == b for a, b in zip(ours.decode(ids), cases, strict=True))
            print(f"{name}: {equal} of {len(cases)} vectors encode, {back} decode")
            bad += 2 * len(cases) - equal - back
        bad += compare(name, ours, theirs, texts, strings)
        if name in ("llama2", "mistral_v1"):
            bad += compare(f"{name} as tokenizer.model", Moegrad(args.moegrad, source / name, args.work), theirs, texts,
                           strings)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
