"""Makes test/fixtures/prompts-source: how Hugging Face's peft starts multitask prompts from the prompts of other tasks.

From the root of the repository, in the environment of make_fixtures.py, after make_prompt_fixtures.py and make_prompt_seq2seq_fixtures.py:
    python test/parity/make_prompt_source_fixtures.py
Two runs write the same bytes. A source is an adapter of these fixtures. expected.safetensors has, for each case, the fresh tensors and the
logits of a batch; facts.json the cases with their options; source.bin one source as torch.save writes it.
"""
import json
import shutil
from pathlib import Path

import torch
from peft import MultitaskPromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

FIXTURES = Path("test/fixtures")
ROOT = FIXTURES / "prompts-source"

LLAMA = ("llama/model", "prompts/multitask-llama/adapter/adapter_model.safetensors", "CAUSAL_LM", 4)
T5 = ("seq2seq/t5/model", "prompts-seq2seq/multitask-t5/adapter/adapter_model.safetensors", "SEQ_2_SEQ_LM", 3)
CASES = {
    "average": (LLAMA, dict(prompt_tuning_init="AVERAGE_SOURCE_TASKS", num_ranks=2)),
    "exact": (LLAMA, dict(prompt_tuning_init="EXACT_SOURCE_TASK", prompt_tuning_init_task=1, num_ranks=2)),
    "shared": (LLAMA, dict(prompt_tuning_init="ONLY_SOURCE_SHARED", num_tasks=3)),
    "bin": (("llama/model", "prompts-source/source.bin", "CAUSAL_LM", 4), dict(prompt_tuning_init="EXACT_SOURCE_TASK", num_ranks=2)),
    "t5-average": (T5, dict(prompt_tuning_init="AVERAGE_SOURCE_TASKS", num_ranks=2)),
}


def fresh(source, options):
    base, path, task, tokens = source
    auto = AutoModelForCausalLM if task == "CAUSAL_LM" else AutoModelForSeq2SeqLM
    torch.manual_seed(1)
    config = MultitaskPromptTuningConfig(
        task_type=task, num_virtual_tokens=tokens, prompt_tuning_init_state_dict_path=str(FIXTURES / path), **options)
    model = get_peft_model(auto.from_pretrained(FIXTURES / base, dtype=torch.float32), config).eval()
    encoder = model.prompt_encoder["default"]
    ids = torch.tensor([[5, 9, 14, 3], [7, 7, 21, 40]])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, task_ids=torch.tensor([0, 0])).logits[:, -4:]
    found = dict(prompt_embeddings=encoder.embedding.weight, logits=logits)
    if options["prompt_tuning_init"] != "ONLY_SOURCE_SHARED":
        found.update(prefix_task_cols=encoder.prefix_task_cols, prefix_task_rows=encoder.prefix_task_rows)
    else:
        found.pop("logits")
    return {key: value.detach().clone().contiguous() for key, value in found.items()}


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(parents=True)
    torch.save(load_file(FIXTURES / LLAMA[1]), ROOT / "source.bin")
    expected = {f"{name}.{key}": value for name, case in CASES.items() for key, value in fresh(*case).items()}
    save_file(expected, ROOT / "expected.safetensors")
    facts = {name: dict(base=source[0], source=source[1], task=source[2], num_virtual_tokens=source[3], **options)
             for name, (source, options) in CASES.items()}
    (ROOT / "facts.json").write_text(json.dumps(facts, indent=1))
