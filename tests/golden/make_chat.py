"""make_chat.py FOLDER: conversations as transformers renders and tokenizes them with the published chat templates.

Writes FOLDER/tokenizer.json (a small BPE with byte fallback, as Llama 2 has it, and the special tokens of all templates)
and FOLDER/chat.json: {"templates": {name: jinja}, "conversations": [[{role, content}]], "cases": [{template,
conversation, rendered | error, ids, supervised}]}. supervised: per token 1 where it ends inside an assistant's content or
its end token, from the offsets that the tokenizer gives.

The templates are the chat_template of tokenizer_config.json of these models: Llama-2-7b-chat-hf, Meta-Llama-3-8B-Instruct
(first and later text), Mixtral-8x7B-Instruct-v0.1 (2024-09), Mistral-7B-Instruct-v0.2 and v0.1 (first texts), OpenHermes
2.5 (ChatML), Qwen2-7B-Instruct. mistral-v3 has the turns of Mistral-7B-Instruct-v0.3's without its tools.
"""
import json
import sys

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must "
             "alternate user/assistant/user/assistant/...') }}{% endif %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = "
          "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
          "{% for message in loop_messages %}" + ALTERNATE +
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + "
          "'\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
          "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
          "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
          "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
          "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}")
LLAMA3_FIRST = LLAMA3 + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
LLAMA3_LATER = LLAMA3 + "{% if add_generation_prompt %}" + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
MISTRAL_FIRST = ("{{ bos_token }}{% for message in messages %}" + ALTERNATE + "{% if message['role'] == 'user' %}"
                 "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
                 "{{ message['content'] + EOS}}{% else %}{{ raise_exception('Only user and assistant roles are "
                 "supported!') }}{% endif %}{% endfor %}")
MISTRAL_V1 = """{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if loop.first and system_message is defined %}
            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}
        {%- else %}
            {{- ' [INST] ' + message['content'] + ' [/INST]' }}
        {%- endif %}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] + eos_token}}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported, with the exception of an initial optional system message!') }}
    {%- endif %}
{%- endfor %}
"""
# Published: the system message goes before the last message if that is the user's; in a training text the last message is
# the assistant's, and the model's own tokenizer library puts it before the last user message.
MISTRAL_V3 = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set users = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- set ns = namespace(seen=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- set ns.seen = ns.seen + 1 %}
        {%- if ns.seen == users | length and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- endif %}
{%- endfor %}
"""
CHATML_LOOP = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
CHATML_END = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
QWEN2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
         "You are a helpful assistant.<|im_end|>\n' }}{% endif %}" + CHATML_LOOP + CHATML_END)

# name -> (published text, ends an assistant's message, contents stripped)
TEMPLATES = {
    "llama-2": (LLAMA2, " </s>", True),
    "llama-3": (LLAMA3_LATER, "<|eot_id|>", True),
    "mistral-v1": (MISTRAL_V1, "</s>", False),
    "mistral-v0.2": (MISTRAL_FIRST.replace("EOS", "eos_token"), "</s>", False),
    "mistral-v0.1": (MISTRAL_FIRST.replace("EOS}}", "eos_token + ' ' }}"), "</s>", False),
    "mistral-v3": (MISTRAL_V3, "</s>", True),
    "chatml": ("{% for message in messages %}" + CHATML_LOOP + CHATML_END, "<|im_end|>", False),
    "qwen-2": (QWEN2, "<|im_end|>", False),
}
# Same turns, another text; checked for being recognised only.
OTHER_TEXTS = {"llama-3": LLAMA3_FIRST, "chatml": "{% for message in messages %}" + CHATML_LOOP}

CONVERSATIONS = [
    [("user", "Where is Riga?"), ("assistant", "In Latvia.")],
    [("user", "  two  words "), ("assistant", " a  padded\nanswer  "), ("user", "and?"), ("assistant", "No.")],
    [("system", "Be brief."), ("user", "Who?"), ("assistant", "Ada."), ("user", "Why?"), ("assistant", "Ask her.")],
    [("system", "Be brief."), ("user", "One"), ("assistant", "two"), ("user", "three")],
    [("user", "Caf\u00e9 \u65e5\u672c \U0001f600?\n\n- x"), ("assistant", "\u00dcber\ttab \u2603")],
    [("user", ""), ("assistant", "")],
    [("assistant", "first"), ("user", "then")],
    [("user", "a"), ("user", "b")],
]
CORPUS = ["Where is Riga? In Latvia. two words a padded answer and? No. Be brief. Who? Ada. Why? Ask her. [INST] [/INST] "
          "system user assistant One two three <<SYS>> <</SYS>> You are a helpful assistant. first then"] * 3
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
            "[INST]", "[/INST]"]  # the last two are special for mistral-v3 only


def small_tokenizer(instruct_marks):
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    learner.train_from_iterator([w for line in CORPUS for w in line.split()], trainers.BpeTrainer(vocab_size=170, show_progress=False))
    learned = json.loads(learner.to_str())["model"]
    vocab = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)])}
    for piece, _ in sorted(learned["vocab"].items(), key=lambda item: item[1]):
        vocab[piece] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m) for m in learned["merges"]], unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = learner.normalizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"] + (SPECIALS if instruct_marks else SPECIALS[:-2]))
    return tokenizer


def without_prepend():
    """The same pieces as newer conversions have them: a mark only before the first word of a text."""
    tokenizer = small_tokenizer(False)
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return tokenizer


def case(tokenizer, name, index):
    jinja, end, strips = TEMPLATES[name]
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[index]]
    result = {"template": name, "conversation": index}
    bos = "<|begin_of_text|>" if name == "llama-3" else "<s>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token="</s>", unk_token="<unk>")
    try:
        text = fast.apply_chat_template(messages, chat_template=jinja, tokenize=False)
    except Exception as problem:
        return result | {"error": str(problem).splitlines()[0]}
    spans, at = [], 0
    every_message_ends = end in ("<|eot_id|>", "<|im_end|>")
    if name == "qwen-2" and messages[0]["role"] != "system":
        at = text.index(end) + len(end)
    for message in messages:
        content = message["content"].strip() if strips else message["content"]
        begin = text.index(content, at)
        at = begin + len(content)
        if message["role"] == "assistant":
            if not content:  # the end token alone
                begin = at = text.index(end, at)
            assert text[at:].startswith(end), (name, text)
            at += len(end)
            spans.append((begin, at))
        elif every_message_ends:
            at = text.index(end, at) + len(end)
        elif name == "mistral-v3" and message["role"] == "system":
            at = 0  # it comes later than the messages after it
    encoded = fast(text, add_special_tokens=False, return_offsets_mapping=True)
    inside = [int(any(begin < stop <= last for begin, last in spans)) for _, stop in encoded["offset_mapping"]]
    return result | {"rendered": text, "ids": encoded["input_ids"], "supervised": inside}


def main(folder):
    marks, plain = small_tokenizer(True), small_tokenizer(False)
    with open(folder + "/tokenizer.json", "w") as file:
        json.dump(json.loads(marks.to_str()), file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    cases = [case(marks if name == "mistral-v3" else plain, name, index)
             for name in TEMPLATES for index in range(len(CONVERSATIONS))]
    cases += [case(without_prepend(), name, index) | {"metaspace": "first"}
              for name in ("llama-2", "mistral-v1", "chatml") for index in (0, 1, 4)]
    golden = {
        "templates": [{"name": name, "jinja": text} for name, (text, _, _) in TEMPLATES.items()] +
                     [{"name": name, "jinja": text} for name, text in OTHER_TEXTS.items()],
        "conversations": [[{"role": role, "content": content} for role, content in one] for one in CONVERSATIONS],
        "cases": cases,
    }
    with open(folder + "/chat.json", "w") as file:
        json.dump(golden, file, ensure_ascii=False, indent=0, separators=(",", ":"))
        file.write("\n")


main(sys.argv[1])
