"""Writes test/fixtures/matching.json: which modules Hugging Face PEFT takes for a configuration, on tiny models and look-alike trees.

    python test/parity/make_match_fixtures.py
from the root of the repository, in the environment of make_fixtures.py. Two runs write the same bytes.
"""
import json
import warnings
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from transformers import (
    BertConfig, BertForSequenceClassification, DistilBertConfig, DistilBertForSequenceClassification, GPT2Config, GPT2LMHeadModel,
    LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaForSequenceClassification, T5Config, T5ForConditionalGeneration,
)

warnings.filterwarnings("ignore")


def linear(*names):
    return {name: nn.Linear(4, 4) for name in names}


def tree(**children):
    module = nn.Module()
    for name, child in children.items():
        setattr(module, name, child)
    return module


def towers():
    """Two towers whose paths end alike, a stray prefix, and heads with look-alike names."""
    def layer():
        return tree(self_attn=tree(**linear("q_proj", "v_proj", "out")), mlp=tree(**linear("xxxx", "fc")), norm=nn.LayerNorm(4))
    return tree(
        model=tree(layers=nn.ModuleList([layer() for _ in range(3)]), norm=nn.LayerNorm(4), embed=nn.Embedding(8, 4)),
        img_model=tree(layers=nn.ModuleList([layer() for _ in range(3)])),
        vision=tree(model=tree(layers=nn.ModuleList([layer() for _ in range(2)]))),
        **linear("score", "my_score", "classifier", "pre_classifier", "q_proj"),
    )


def rooted():
    """Lists of layers at the root, and experts in numbered lists inside of layers."""
    def layer():
        return tree(attn=tree(**linear("q", "k")), experts=nn.ModuleList([tree(**linear("w1", "w2")) for _ in range(2)]))
    return tree(layers=nn.ModuleList([layer() for _ in range(3)]), blocks=nn.ModuleList([layer() for _ in range(2)]), **linear("head"))


SMALL = dict(vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2)
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=3, n_head=2, n_positions=16)),
    "bert": lambda: BertForSequenceClassification(BertConfig(**SMALL)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=20, dim=8, hidden_dim=12, n_layers=3, n_heads=2)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**SMALL)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2)),
    "towers": towers,
    "rooted": rooted,
}
ALL = "all-linear"
CASES = {
    "llama": [
        dict(target_modules=["q_proj", "v_proj"]), dict(target_modules=["self_attn.q_proj"]), dict(target_modules=ALL),
        dict(target_modules=r".*\.layers\.[02]\..*(q_proj|down_proj)"), dict(target_modules=["q_proj", "lm_head"]),
        dict(target_modules="q_proj"), dict(target_modules=["q_proj"], layers_to_transform=1),
        dict(target_modules=["q_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
        dict(target_modules=["model.layers.0.self_attn.q_proj"]), dict(target_modules=["embed_tokens"]),
        dict(target_modules=ALL, exclude_modules=["mlp.up_proj"]), dict(target_modules=ALL, exclude_modules=r".*\.mlp\..*"),
        dict(target_modules=["q_proj", "k_proj"], exclude_modules=["k_proj"]),
        dict(target_modules=ALL, layers_to_transform=[1]), dict(target_modules=["lm_head", "q_proj"], layers_to_transform=[1]),
        dict(target_modules=["model.layers.0.mlp.up_proj", "q_proj"], layers_to_transform=[2]),
        dict(target_modules=ALL, modules_to_save=["lm_head"]), dict(target_modules=["q_proj"], modules_to_save=["norm"]),
        dict(target_modules=["q_porj"]), dict(target_modules=["q_proj", "q_porj"]), dict(target_modules="ALL-LINEAR"),
        dict(target_modules=[], target_parameters=["q_proj.weight"]), dict(target_modules=["v_proj"], target_parameters=["mlp.up_proj.weight"]),
        dict(target_modules=[], target_parameters=["model.layers.0.self_attn.q_proj.weight", "embed_tokens.weight"]),
        dict(target_modules=[], target_parameters=["q_proj.weight"], layers_to_transform=[1]),
        dict(target_modules=[], target_parameters=["q_proj.weight"], exclude_modules=["layers.0.self_attn.q_proj"]),
        dict(target_modules=["q_proj"], target_parameters=["q_proj.weight"]), dict(target_modules=[], target_parameters=["q_porj.weight"]),
        dict(target_modules=[], target_parameters=["q_porj.weight", "q_proj.weight"]), dict(target_modules=[], target_parameters=["norm.weight"]),
    ],
    "gpt2": [
        dict(target_modules=["c_attn"]), dict(target_modules=["c_proj"]), dict(target_modules=["attn.c_proj"]),
        dict(target_modules=ALL), dict(target_modules=["mlp.c_proj", "mlp.c_fc"], layers_to_transform=[0]),
        dict(target_modules=["c_attn"], layers_to_transform=[0, 1], layers_pattern="h"),
        dict(target_modules=["c_attn"], layers_to_transform=[0, 1], layers_pattern=["layers", "h"]),
        dict(target_modules=r"transformer\.h\.\d\.attn\.c_.*"), dict(target_modules=["wte", "c_fc"]),
        dict(target_modules=ALL, exclude_modules=["attn.c_proj"]), dict(target_modules=["c_attn"], modules_to_save=["ln_f"]),
        dict(target_modules=[], target_parameters=["attn.c_proj.weight", "wpe.weight"]), dict(target_modules=[], target_parameters=["c_proj.weight"]),
    ],
    "bert": [
        dict(target_modules=["query", "value"]), dict(target_modules=["dense"]), dict(target_modules=["attention.output.dense"]),
        dict(target_modules=ALL), dict(target_modules=ALL, task_type="SEQ_CLS"), dict(target_modules=["query"], task_type="SEQ_CLS"),
        dict(target_modules=["output.dense"], layers_to_transform=[1]), dict(target_modules=["word_embeddings", "query"]),
        dict(target_modules=["query"], modules_to_save=["classifier"]), dict(target_modules=["query"], modules_to_save=["pooler"]),
        dict(target_modules=["query"], modules_to_save=["LayerNorm"]), dict(target_modules=["value"], target_parameters=["query.weight"]),
    ],
    "distilbert": [
        dict(target_modules=["q_lin", "v_lin"]), dict(target_modules=ALL), dict(target_modules=["q_lin"], task_type="SEQ_CLS"),
        dict(target_modules=["q_lin"], modules_to_save=["classifier"]), dict(target_modules=ALL, task_type="SEQ_CLS"),
        dict(target_modules=["lin1", "lin2"], layers_to_transform=[0]), dict(target_modules=r".*(q|k)_lin"),
    ],
    "roberta": [
        dict(target_modules=["query", "key"]), dict(target_modules=ALL, task_type="SEQ_CLS"),
        dict(target_modules=["query"], task_type="SEQ_CLS"), dict(target_modules=["dense"], exclude_modules=["classifier.dense"]),
        dict(target_modules=["query"], modules_to_save=["classifier"]),
    ],
    "t5": [
        dict(target_modules=["q", "v"]), dict(target_modules=["SelfAttention.q"]), dict(target_modules=ALL),
        dict(target_modules=["wi", "wo"]), dict(target_modules=r"encoder\..*\.q"), dict(target_modules=["o"], layers_to_transform=[1]),
        dict(target_modules=["q"], layers_to_transform=[0], layers_pattern="block"), dict(target_modules=ALL, modules_to_save=["lm_head"]),
        dict(target_modules=["EncDecAttention.k"], exclude_modules=["decoder.block.0.layer.1.EncDecAttention.k"]),
    ],
    "towers": [
        dict(target_modules=["model.layers.0.mlp.xxxx"]), dict(target_modules=["mlp.xxxx"]), dict(target_modules=["xxxx"]),
        dict(target_modules=r"model\.layers\.0\.mlp\.xxxx"), dict(target_modules=["out"]), dict(target_modules=["q_proj"]),
        dict(target_modules=["vision.model.layers.0.mlp.xxxx"]), dict(target_modules=["score"]), dict(target_modules=ALL),
        dict(target_modules=["xxxx"], exclude_modules=["img_model.layers.1.mlp.xxxx"]),
        dict(target_modules=["fc"], modules_to_save=["model.layers.0.mlp.xxxx"]),
        dict(target_modules=["fc"], modules_to_save=["score"]), dict(target_modules=["fc"], modules_to_save=["classifier"]),
        dict(target_modules=["q_proj", "out"], modules_to_save=["out"]), dict(target_modules=["fc"], modules_to_save=["out"]),
        dict(target_modules=["fc"], modules_to_save=["nothing"]), dict(target_modules=["fc"], modules_to_save=["layers"]),
        dict(target_modules=["xxxx"], layers_to_transform=[0], layers_pattern="layers"),
        dict(target_modules=[], target_parameters=["model.layers.0.mlp.xxxx.weight"]), dict(target_modules=[], target_parameters=["mlp.fc.weight"]),
    ],
    "rooted": [
        dict(target_modules=["q"], layers_to_transform=[0]), dict(target_modules=["q"], layers_to_transform=[0], layers_pattern="layers"),
        dict(target_modules=["q", "w1"], layers_to_transform=[1], layers_pattern=["layers", "blocks"]),
        dict(target_modules=["w1"], layers_to_transform=[1]), dict(target_modules=["head", "q"]), dict(target_modules=["q", "head"], layers_to_transform=[0], layers_pattern="blocks"),
        dict(target_modules=["experts.0.w1"]), dict(target_modules=r"layers\.\d\.attn\.[qk]"),
    ],
}


def facts(model):
    modules = []
    for name, module in model.named_modules():
        if not name:
            continue
        weight = getattr(module, "weight", None)
        entry = dict(name=name, type=type(module).__name__)
        if isinstance(weight, nn.Parameter):
            entry["shape"] = list(weight.shape)
        modules.append(entry)
    return modules


def heads(model, options):
    """The module that all-linear leaves out, as peft finds it."""
    if not isinstance(model, transformers.PreTrainedModel):
        return []
    head = model.get_output_embeddings()
    if head is None and options.get("task_type") == "SEQ_CLS":
        head = getattr(model, "score", None) or getattr(model, "classifier", None)
    return [name for name, module in model.named_modules() if module is head and head is not None][:1]


def selected(make, options):
    """What get_peft_model does: names of the adapted and of the saved modules, or the class of the error."""
    try:
        model = get_peft_model(make(), LoraConfig(r=2, **options)).base_model.model
    except Exception as error:
        return dict(error=type(error).__name__)
    adapted = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    saved = [name for name, module in model.named_modules() if isinstance(module, ModulesToSaveWrapper)]
    return dict(targets=sorted(adapted), saved=sorted(saved))


if __name__ == "__main__":
    torch.manual_seed(0)
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)
    models = {
        name: dict(modules=facts(make()), cases=[dict(config=options, heads=heads(make(), options), expected=selected(make, options)) for options in CASES[name]])
        for name, make in MODELS.items()
    }
    lines = json.dumps(dict(versions=versions, models=models)).replace('{"name"', '\n{"name"').replace('{"config"', '\n{"config"')
    Path("test/fixtures/matching.json").write_text(lines + "\n")
    print(versions, {name: len(cases) for name, cases in CASES.items()}, sum(map(len, CASES.values())))
