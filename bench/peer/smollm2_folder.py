"""Makes a Hugging Face folder (float32 weights, tokenizer, chat template) of the GGUF that scripts/fetch-models.mjs fetches.

    python bench/peer/smollm2_folder.py [MODEL.gguf [FOLDER]]
Without arguments: SmolLM2-135M-Instruct.Q4_1.gguf of the cache (PEFT_CACHE, else ~/.cache/peft.js) into smollm2-hf beside it.
The weights are the 4-bit ones spelled out, not the original ones: any two programs that read both hold the same numbers.
"""
import os
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

CACHE = Path(os.environ.get("PEFT_CACHE", Path.home() / ".cache" / "peft.js"))


def make_folder(gguf, folder):
    """Writes the folder under another name first, so that a broken run leaves none that looks whole."""
    if (folder / "config.json").exists():
        return folder
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    # A model read from GGUF says that it is quantised, and such a one cannot be saved.
    config.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig(**config))
    plain.load_state_dict(loaded.state_dict())
    plain.tie_weights()
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    plain.save_pretrained(partial)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


if __name__ == "__main__":
    gguf = Path(sys.argv[1]) if len(sys.argv) > 1 else CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
    print(make_folder(gguf, Path(sys.argv[2]) if len(sys.argv) > 2 else gguf.parent / "smollm2-hf"))
