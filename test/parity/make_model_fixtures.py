"""Makes the fixtures of the further architectures: tiny random models with their heads, and what transformers and peft compute.

From the root of the repository, in the environment of make_fixtures.py:
    python test/parity/make_model_fixtures.py
Two runs write the same bytes. Causal language models are cases like those of make_fixtures.py, listed in test/fixtures/models.json;
the other tasks are in test/fixtures/tasks, a folder each with model/, adapter/, facts.json and expected.safetensors.
"""
import json
import shutil
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import (
    BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel, DistilBertConfig,
    DistilBertForMaskedLM, DistilBertForQuestionAnswering, DistilBertForSequenceClassification, GPT2ForSequenceClassification,
    LlamaConfig, LlamaForTokenClassification, RobertaConfig, RobertaForMaskedLM, RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    Gemma2Config, Gemma2ForCausalLM, GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, Phi3Config, Phi3ForCausalLM,
)

sys.path.insert(0, str(Path(__file__).parent))
from make_fixtures import ALL, ROOT, SIZES, fixture, randomise, save_adapter

TINY = dict(vocab_size=97, initializer_range=0.25, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GPT2 = dict(n_embd=32, n_head=4, n_layer=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **TINY)
GEMMA = dict(**{**SIZES, "num_hidden_layers": 2}, head_dim=16)
# As in Phi-3 with 128k tokens, but trained on 8: the longest row of the batch is beyond, the others alone would not be.
LONG = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.1, 1.3, 1.2], long_factor=[1.7, 2.9, 4.1],
            original_max_position_embeddings=8, partial_rotary_factor=0.75)


def causal_cases():
    yield "gpt2", GPT2LMHeadModel(GPT2Config(**GPT2)), dict(r=4, lora_alpha=8), dict(absolute=True)
    yield ("gpt2-scaled", GPT2LMHeadModel(GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True, activation_function="relu",
                                                     n_inner=40, tie_word_embeddings=False)),
           dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_proj", "c_fc", "wpe"]), dict(absolute=True))
    yield "gemma", GemmaForCausalLM(GemmaConfig(**GEMMA)), dict(r=4, lora_alpha=8, target_modules=["embed_tokens", "q_proj"]), {}
    yield ("gemma2", Gemma2ForCausalLM(Gemma2Config(**GEMMA, sliding_window=4, query_pre_attn_scalar=24,
                                                    attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
           dict(r=4, lora_alpha=8, target_modules=ALL), {})
    yield "phi3", Phi3ForCausalLM(Phi3Config(**SIZES)), dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj"]), {}
    yield ("phi3-long", Phi3ForCausalLM(Phi3Config(**{**SIZES, "num_hidden_layers": 2, "max_position_embeddings": 32},
                                                   sliding_window=6, original_max_position_embeddings=8, rope_parameters=LONG)),
           dict(r=4, lora_alpha=8, target_modules="all-linear"), {})


SMALL = dict(vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
             max_position_embeddings=32, initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0)
DISTIL = dict(vocab_size=61, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=32, initializer_range=0.3,
              dropout=0.0, attention_dropout=0.0, qa_dropout=0.0, seq_classif_dropout=0.0)
LENGTHS = [7, 5, 3]


def task_cases():
    lora = lambda task, **more: LoraConfig(task_type=task, r=2, lora_alpha=4, lora_dropout=0.0, **more)
    yield ("bert-sequence", BertForSequenceClassification(BertConfig(**SMALL, num_labels=3)), lora("SEQ_CLS"),
           dict(labels=torch.tensor([2, 0, 1]), token_type_ids=True))
    yield ("bert-token", BertForTokenClassification(BertConfig(**SMALL, num_labels=4)), lora("TOKEN_CLS"), dict(labels="tokens", classes=4))
    yield "bert-features", BertModel(BertConfig(**SMALL)), lora("FEATURE_EXTRACTION"), dict()
    yield ("roberta-labels", RobertaForSequenceClassification(RobertaConfig(**SMALL, num_labels=3, problem_type="multi_label_classification")),
           lora("SEQ_CLS", target_modules=["query", "intermediate.dense"]), dict(labels=torch.tensor([[1., 0, 1], [0, 0, 0], [0, 1, 1]])))
    yield ("roberta-question", RobertaForQuestionAnswering(RobertaConfig(**SMALL)), lora("QUESTION_ANS"),
           dict(start_positions=torch.tensor([1, 0, 6]), end_positions=torch.tensor([3, 2, 6]), full=True))
    yield ("distilbert-number", DistilBertForSequenceClassification(DistilBertConfig(**DISTIL, num_labels=1)),
           lora("SEQ_CLS", target_modules=["q_lin", "lin2"]), dict(labels=torch.tensor([0.5, -1.0, 2.0])))
    yield ("distilbert-question", DistilBertForQuestionAnswering(DistilBertConfig(**DISTIL)),
           lora("QUESTION_ANS", target_modules=["v_lin"]),
           dict(start_positions=torch.tensor([0, 4, 40]), end_positions=torch.tensor([2, 4, 40]), full=True))
    yield ("gpt2-sequence", GPT2ForSequenceClassification(GPT2Config(**{**GPT2, "n_embd": 16, "n_head": 2, "vocab_size": 61}, num_labels=3)),
           lora("SEQ_CLS", fan_in_fan_out=True), dict(labels=torch.tensor([1, 1, 2])))
    llama = {**SIZES, "vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    yield ("llama-token", LlamaForTokenClassification(LlamaConfig(**llama, num_labels=3, classifier_dropout=0.0)), lora("TOKEN_CLS"),
           dict(labels="tokens", classes=3))
    # Masked language models have no name of their own in peft.
    yield "bert-masked", BertForMaskedLM(BertConfig(**SMALL)), lora(None), dict(labels="masked", task="MASKED_LM")
    yield ("roberta-masked", RobertaForMaskedLM(RobertaConfig(**SMALL, tie_word_embeddings=False)),
           lora(None, target_modules=["query", "lm_head.dense", "lm_head.decoder"]), dict(labels="masked", task="MASKED_LM"))
    yield ("distilbert-masked", DistilBertForMaskedLM(DistilBertConfig(**DISTIL)),
           lora(None, target_modules=["q_lin", "vocab_transform"]), dict(labels="masked", task="MASKED_LM"))


def task_batch(generator, wanted):
    lengths = [7, 7, 7] if wanted.get("full") else LENGTHS
    ids = torch.randint(3, 61, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate(lengths):
        mask[row, length:] = 0
    ids[mask == 0] = 0
    batch = dict(input_ids=ids, attention_mask=mask)
    if wanted.get("token_type_ids"):
        batch["token_type_ids"] = (torch.arange(7) > 1).long().expand(3, 7) * mask
    for key in ("labels", "start_positions", "end_positions"):
        if key in wanted and not isinstance(wanted[key], str):
            batch[key] = wanted[key]
    if wanted.get("labels") == "tokens":
        labels = torch.randint(0, wanted["classes"], (3, 7), generator=generator)
        labels[mask == 0] = -100
        labels[0, 0] = -100
        batch["labels"] = labels
    if wanted.get("labels") == "masked":
        masked = torch.tensor([[0, 2], [1, 4], [2, 1]])
        batch["labels"] = torch.full_like(ids, -100).scatter(1, masked, ids.gather(1, masked))
        ids.scatter_(1, masked, 3)
    return batch


def outputs_of(out):
    found = {}
    for key in ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output", "loss"):
        value = getattr(out, key, None)
        if value is not None:
            found[key] = value.detach()
    return found


def loss_of(out):
    """Bodies have no loss; the mean square of their hidden states at real tokens stands in."""
    return out.loss if getattr(out, "loss", None) is not None else out.last_hidden_state[MASK].pow(2).mean()


def task_fixture(name, model, lora, wanted):
    global MASK
    folder = ROOT / "tasks" / name
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(len(name))
    randomise(model, generator)
    model.eval()
    model.save_pretrained(folder / "model")
    batch = task_batch(generator, wanted)
    MASK = batch["attention_mask"].bool()
    expected = {}
    with torch.no_grad():
        expected.update({f"base.{k}": v for k, v in outputs_of(model(**batch)).items()})
    model.zero_grad()
    loss_of(model(**batch)).backward()
    expected.update({f"full.grad.{k}": p.grad.clone() for k, p in model.named_parameters() if p.grad is not None})
    model.zero_grad()
    wrapped = get_peft_model(model, lora)
    for key, p in wrapped.named_parameters():
        if p.requires_grad:
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.15)
    wrapped.eval()
    save_adapter(wrapped, folder / "adapter")
    with torch.no_grad():
        expected.update({f"adapter.{k}": v for k, v in outputs_of(wrapped(**batch)).items()})
    trained = {k: p for k, p in wrapped.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.01)
    losses = []
    for step in range(5):
        loss = loss_of(wrapped(**batch))
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            expected.update({f"adapter.grad.{k}": p.grad.clone() for k, p in trained.items()})
        optimizer.step()
        optimizer.zero_grad()
    expected.update({f"trained.{k}": p.detach().clone() for k, p in trained.items()})
    with torch.no_grad():
        expected.update({f"merged.{k}": v for k, v in outputs_of(wrapped.merge_and_unload()(**batch)).items()})
    save_file({k: v.float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    facts = dict(task=wanted.get("task", lora.task_type), batch={k: v.tolist() for k, v in batch.items()}, losses=losses, learning_rate=1e-2, weight_decay=0.01)
    (folder / "facts.json").write_text(json.dumps(facts))
    return name


if __name__ == "__main__":
    torch.manual_seed(0)
    if sys.argv[1:] != ["tasks"]:
        made = [fixture(*case) for case in causal_cases()]
        (ROOT / "models.json").write_text(json.dumps(dict(cases=made), indent=1))
        print([case["case"] for case in made])
    torch.manual_seed(1)
    print([task_fixture(*case) for case in task_cases()])
