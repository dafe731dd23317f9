"""The job "step" of kernel_peer.py: an optimiser step of transformers + PEFT on a model that is made in memory.

LoRA on attention and experts of a Mixtral, on all Linears of a Llama; adapters in float32 under bfloat16 autocast on a GPU;
experts through grouped_mm, attention through cuDNN first, fused AdamW, torch.compile where it is asked for.
"""
import types

from moe_step import ADAMW, best_kernels

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def make_config(s):
    import transformers
    common = dict(vocab_size=s["vocabulary"], hidden_size=s["hidden"], intermediate_size=s["width"],
                  num_hidden_layers=s["layers"], num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"],
                  max_position_embeddings=4096, tie_word_embeddings=False)
    if s["family"] == "llama":
        return transformers.LlamaConfig(**common)
    return transformers.MixtralConfig(num_local_experts=s["experts"], num_experts_per_tok=2, sliding_window=None,
                                      output_router_logits=False, **common)


def make_model(place, s):
    import peft
    import transformers
    how = dict(dtype=place.dtype, attn_implementation="sdpa")
    lora = dict(r=s["rank"], lora_alpha=2 * s["rank"], lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    if s["family"] == "llama":
        lora["target_modules"] = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
    else:
        how["experts_implementation"] = "grouped_mm"
        lora.update(target_modules=ATTENTION,
                    target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])
    with place.torch.device(place.device):
        model = transformers.AutoModelForCausalLM.from_config(make_config(s), **how)
        model.config.use_cache = False
        return peft.get_peft_model(model, peft.LoraConfig(**lora)).train()


def make_step(place, s):
    torch = place.torch
    if place.device == "cuda":
        torch.compiler.reset()
    model = make_model(place, s)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True, **ADAMW)
    ids = torch.randint(0, s["vocabulary"], (s["sequences"], s["length"]), device=place.device)
    run = torch.compile(model) if s["compile"] else model
    kernels = types.SimpleNamespace(device=place.device, dtype=str(place.dtype).removeprefix("torch."),
                                    adapters="float32")

    def step():
        with best_kernels(kernels):
            loss = run(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return step, "compiled" if s["compile"] else "grouped_mm" if s["family"] == "mixtral" else "eager"
