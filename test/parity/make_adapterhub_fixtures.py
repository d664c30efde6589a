"""Makes test/fixtures/adapterhub: what AdapterHub's adapters computes with bottleneck adapters, on tiny random models.

From the root of the repository, in a virtual environment of its own, since adapters needs an older transformers (no network):
    pip install -r test/parity/adapterhub_requirements.txt
    python test/parity/make_adapterhub_fixtures.py [CASE ...]
Two runs write the same bytes. With names of cases only these are made anew. The fixtures are committed; the tests need no Python.

FAMILY/model is the base, FAMILY/facts.json its batch. A case is a folder FAMILY/CASE: adapter/ as save_adapter writes it, and
expected.safetensors with
  logits          scores, or hidden states of bodies without a head, at the real tokens of the batch
  loss            before the first step; bodies have the mean square of these hidden states
  grad.NAME       gradients of the adapter before the first step, and of the head that is trained with it
  trained.NAME    both after five AdamW steps
manifest.json lists versions, settings of the training and the cases.
"""
import json
import shutil
import sys
import warnings
from pathlib import Path

import adapters
import torch
import transformers
from adapters import CompacterConfig, CompacterPlusPlusConfig, DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig, BertForSequenceClassification, BertModel, DistilBertConfig, DistilBertModel, GPT2Config, GPT2LMHeadModel, LlamaConfig,
    LlamaForCausalLM, MistralConfig, MistralForCausalLM, RobertaConfig, RobertaModel, T5Config, T5ForConditionalGeneration,
)

OUT = Path("test/fixtures/adapterhub")
LEARNING_RATE, WEIGHT_DECAY, STEPS = 1e-2, 0.01, 5
LENGTHS = [7, 5, 3]

BERT = dict(vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=32,
            initializer_range=0.3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=0)
DISTIL = dict(vocab_size=61, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=32, initializer_range=0.3,
              dropout=0.0, attention_dropout=0.0)
GPT2 = dict(vocab_size=61, n_embd=16, n_head=2, n_layer=2, n_positions=32, initializer_range=0.25, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, bos_token_id=1, eos_token_id=2)
LLAMA = dict(vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24,
             max_position_embeddings=32, initializer_range=0.25, bos_token_id=1, eos_token_id=2, pad_token_id=0)
T5 = dict(vocab_size=61, d_model=16, d_kv=6, num_heads=2, d_ff=24, num_layers=2, num_decoder_layers=3, dropout_rate=0.0,
          relative_attention_num_buckets=8, relative_attention_max_distance=20, decoder_start_token_id=0, pad_token_id=0)

FAMILIES = {
    "bert": lambda: BertModel(BertConfig(**BERT)),
    "bert-sequence": lambda: BertForSequenceClassification(BertConfig(**BERT, num_labels=3)),
    "roberta": lambda: RobertaModel(RobertaConfig(**{**BERT, "pad_token_id": 1})),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**DISTIL)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**LLAMA, sliding_window=4)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5, feed_forward_proj="relu")),
    "t5-v1_1": lambda: T5ForConditionalGeneration(T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)),
}
SOME = {"bert", "llama", "gpt2", "t5"}


def cases():
    """Name, config, families, and whether the folder holds a pickle: adapters cannot write norms of its own as safetensors.

    Of bodies without a head it does not write what all places share, so Compacter has a head or its own left factors here, or `complete`."""
    yield "seq-bn", SeqBnConfig(reduction_factor=4), set(FAMILIES), False
    yield "double-seq-bn", DoubleSeqBnConfig(reduction_factor={"0": 2, "default": 4}), {"bert", "llama", "gpt2", "distilbert", "t5"}, False
    yield "par-bn", ParBnConfig(reduction_factor=4), {"bert", "llama", "gpt2", "roberta", "mistral", "distilbert", "t5"}, False
    yield "scaled-par-bn", ParBnConfig(reduction_factor=4, scaling="learned", mh_adapter=True), {"bert", "llama", "gpt2", "t5"}, False
    yield "compacter", CompacterConfig(reduction_factor=4, phm_dim=2), {"bert-sequence", "llama", "gpt2", "t5"}, False
    yield ("compacter-plus-plus", CompacterPlusPlusConfig(reduction_factor=2, phm_dim=4, phm_rank=2, factorized_phm_rule=True),
           {"bert-sequence", "llama", "t5"}, False)
    yield ("compacter-apart", CompacterConfig(reduction_factor=4, phm_dim=2, shared_phm_rule=False, factorized_phm_W=False, phm_bias=False),
           {"bert"}, False)
    yield "compacter-shared", CompacterConfig(reduction_factor=4, phm_dim=2, shared_W_phm=True), {"llama"}, False
    yield ("norms", SeqBnConfig(reduction_factor=4, ln_before=True, ln_after=True, adapter_residual_before_ln=True, scaling="channel",
                                non_linearity="leakyrelu"), SOME, True)
    yield "post-add", SeqBnConfig(reduction_factor=4, residual_before_ln="post_add", mh_adapter=True, leave_out=[0]), {"bert"}, True
    yield ("open", SeqBnConfig(reduction_factor=4, residual_before_ln=False, original_ln_after=False, ln_after=True, init_weights="houlsby",
                               non_linearity="tanh"), SOME, False)
    yield "twice", SeqBnConfig(reduction_factor=4, residual_before_ln=False, non_linearity="sigmoid"), SOME, False
    yield ("parallel-norms", ParBnConfig(reduction_factor=0.5, ln_before=True, ln_after=True, non_linearity="gelu_new", scaling=2.0),
           {"bert", "llama"}, True)
    # Layers of the decoder are counted behind those of the encoder.
    yield ("cross", SeqBnConfig(reduction_factor={"1": 2, "3": 8, "default": 4}, mh_adapter=True, cross_adapter=True, leave_out=[0, 4],
                          non_linearity="gelu"),
           {"t5", "t5-v1_1"}, False)
    yield "cross-alone", ParBnConfig(reduction_factor=4, cross_adapter=True, output_adapter=False), {"t5"}, False


def batch_of(family):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 61, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate(LENGTHS):
        mask[row, length:] = 0
    ids[mask == 0] = 1 if family == "roberta" else 0
    batch = dict(input_ids=ids, attention_mask=mask)
    if family == "bert-sequence":
        batch["labels"] = torch.tensor([2, 0, 1])
    elif family.startswith("t5"):
        labels = torch.randint(3, 61, (3, 5), generator=generator)
        for row, length in enumerate([5, 3, 4]):
            labels[row, length:] = -100
        batch["labels"] = labels
    elif family in ("gpt2", "llama", "mistral"):
        labels = ids.clone()
        labels[mask == 0] = -100
        labels[:, :2] = -100
        batch["labels"] = labels
    return batch


def base_of(family):
    torch.manual_seed(11)
    model = FAMILIES[family]()
    generator = torch.Generator().manual_seed(12)
    for parameter in model.parameters():
        # Norms and biases start as ones and zeros, which hide mistakes.
        if parameter.ndim == 1:
            parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        elif family.startswith("t5"):
            # Weights of a fresh T5 are small in this size.
            parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def measure(model, batch):
    out = model(**batch)
    real = batch["labels"] != -100 if model.config.is_encoder_decoder else batch["attention_mask"].bool()
    if getattr(out, "loss", None) is not None:
        logits = out.logits if out.logits.ndim == 2 else out.logits[real]
        return logits, out.loss
    hidden = out.last_hidden_state[real]
    return hidden, hidden.pow(2).mean()


def complete(folder, family, shared, logits):
    """Adds what all places share, which adapters leaves out of files of models that are no part of another (T5), and reads so."""
    if not shared:
        return
    path = folder / "adapter.safetensors"
    tensors = load_file(path)
    assert not shared.keys() & tensors.keys(), "adapters writes shared parameters by now"
    save_file({**tensors, **shared}, path)
    model = base_of(family)
    adapters.init(model)
    model.load_adapter(str(folder), use_safetensors=True, set_active=True)
    with torch.no_grad():
        assert torch.equal(measure(model.eval(), batch_of(family))[0], logits), family


def case(family, name, config, pickle, batch):
    folder = OUT / family / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = base_of(family)
    adapters.init(model)
    torch.manual_seed(13)
    model.add_adapter("task", config)
    model.train_adapter("task")
    model.eval()
    generator = torch.Generator().manual_seed(14)
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    for key, p in trained.items():
        p.data.add_((0.4 if "phm_rule" in key else 0.15) * torch.randn(p.shape, generator=generator))
    model.save_adapter(folder / "adapter", "task", use_safetensors=not pickle, with_head=family == "bert-sequence")
    logits, loss = measure(model, batch)
    complete(folder / "adapter", family, {k: p.detach() for k, p in trained.items() if k.startswith("shared_parameters.")}, logits)
    loss.backward()
    expected = dict(logits=logits.detach(), loss=loss.detach().reshape(1))
    for key, p in trained.items():
        assert p.grad is not None and p.grad.abs().max() > 0, (family, name, key)
        expected[f"grad.{key}"] = p.grad.clone()
    optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        measure(model, batch)[1].backward()
        optimizer.step()
    for key, p in trained.items():
        expected[f"trained.{key}"] = p.detach()
    save_file({key: value.contiguous() for key, value in expected.items()}, folder / "expected.safetensors")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    chosen = sys.argv[1:]
    made = []
    for family in FAMILIES:
        batch = batch_of(family)
        if chosen == []:
            shutil.rmtree(OUT / family, ignore_errors=True)
            base_of(family).save_pretrained(OUT / family / "model")
            facts = {key: value.tolist() for key, value in batch.items()}
            (OUT / family / "facts.json").write_text(json.dumps(facts))
        for name, config, families, pickle in cases():
            if family not in families:
                continue
            if chosen == [] or name in chosen:
                case(family, name, config, pickle, batch)
            made.append(dict(family=family, case=name))
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, adapters=adapters.__version__)
    settings = dict(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, steps=STEPS)
    (OUT / "manifest.json").write_text(json.dumps(dict(versions=versions, settings=settings, cases=made), indent=1))
    print(versions, len(made), "cases")
