"""Writes llama_tiny_dora: an adapter that PEFT saved with use_dora over llama_tiny, and the logits of the two together.

    python make_dora.py        (PEFT 0.21.2, transformers, torch on the CPU, float32)
"""

import json
import pathlib

import peft
import torch
import transformers
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
out = here / "llama_tiny_dora"
torch.manual_seed(7)
model = transformers.AutoModelForCausalLM.from_pretrained(here / "llama_tiny", dtype=torch.float32, attn_implementation="eager")
config = peft.LoraConfig(r=3, lora_alpha=5, use_dora=True, task_type="CAUSAL_LM", rank_pattern={"up_proj": 2},
                         target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"])
model = peft.get_peft_model(model, config).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter += 0.2 * torch.randn_like(parameter)
    tokens = torch.randint(0, model.config.vocab_size, (2, 9))
    logits = model(tokens).logits
model.save_pretrained(out)
(out / "README.md").unlink(missing_ok=True)
config = json.loads((out / "adapter_config.json").read_text())
config["base_model_name_or_path"] = None
(out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
save_file({"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, out / "reference.safetensors")
