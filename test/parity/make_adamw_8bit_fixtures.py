"""Makes test/fixtures/adamw-8bit.safetensors: AdamW with moments in codes of 8 bits, written out in numpy from the published formulas.

From the root of the repository, in the environment of make_bnb_fixtures.py:
    python test/parity/make_adamw_8bit_fixtures.py
Two runs write the same bytes. Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv:2110.02861, sections 2 and 3; the numbers
of the codes are those of arXiv:1511.04561. Weights and gradients are made of whole numbers, by the same rule on both sides. At the end
the moments are held against the reference in torch that bitsandbytes has for machines without its CUDA kernels.
"""
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUT = Path("test/fixtures/adamw-8bit.safetensors")
BLOCK, STEPS = 256, 6
SIZES = {"large": 4096 + 300, "small": 4095}
RATE, BETA1, BETA2, EPSILON, DECAY = 1e-2, 0.9, 0.999, 1e-8, 0.1
SCALES = [1.0, 1e-1, 1e-2, 1e-4]
f32 = np.float32


def noise(size, seed):
    """Numbers from -1 to 1: a multiplicative hash of the place."""
    place = np.arange(size, dtype=np.uint64)
    mixed = (place * np.uint64(2654435761) + np.uint64(seed) * np.uint64(40503)) % np.uint64(2**32)
    mixed = ((mixed ^ (mixed >> np.uint64(15))) * np.uint64(2246822519)) % np.uint64(2**32)
    return mixed.astype(np.float64) / 2**31 - 1


def gradient(size, step):
    """Blocks of several sizes; every fifth has none, and within a block values differ by a factor of up to a million."""
    values = noise(size, 100 + step)
    block = np.arange(size) // BLOCK
    scaled = values**5 * np.array(SCALES)[block % len(SCALES)]
    return np.where(block % 5 == 4, 0.0, scaled).astype(f32)


def numbers(signed):
    """0, 1 and, for each decade 10^-6 ... 1, the middles of twice as many equal parts of 0.1 to 1 as for the one below."""
    found = [0.0, 1.0]
    for decade in range(7):
        parts = 2 ** (decade if signed else decade + 1)
        edges = np.linspace(0.1, 1, parts + 1).astype(f32)
        middles = (edges[:-1] + edges[1:]) / f32(2) * f32(10.0 ** (decade - 6))
        found += middles.tolist() + ((-middles).tolist() if signed else [])
    return np.sort(np.array(found, dtype=f32))


def encode(values, book):
    """Codes of the nearest numbers, over the largest magnitude of each block."""
    blocks = -(-values.size // BLOCK)
    padded = np.pad(values, (0, blocks * BLOCK - values.size)).reshape(blocks, BLOCK)
    largest = np.abs(padded).max(axis=1)
    scaled = padded / np.where(largest == 0, f32(1), largest)[:, None]
    codes = np.abs(scaled[:, :, None] - book).argmin(axis=2).astype(np.uint8)
    return codes.reshape(-1)[: values.size], largest


def decode(codes, largest, book):
    return book[codes] * np.repeat(largest, BLOCK)[: codes.size]


def run(name, size):
    eight = size >= 4096
    weights = noise(size, 7).astype(f32)
    books = [numbers(True), numbers(False)]
    moments = [np.zeros(size, f32), np.zeros(size, f32)]
    coded = [encode(moment, book) for moment, book in zip(moments, books)]
    written = {}
    for step in range(1, STEPS + 1):
        g = gradient(size, step)
        m, v = [decode(*code, book) for code, book in zip(coded, books)] if eight else moments
        m = f32(BETA1) * m + f32(1 - BETA1) * g
        v = f32(BETA2) * v + f32(1 - BETA2) * g * g
        root = np.sqrt(v) / f32(math.sqrt(1 - BETA2**step)) + f32(EPSILON)
        weights = weights * f32(1 - RATE * DECAY) - f32(RATE / (1 - BETA1**step)) * m / root
        moments = [m, v]
        coded = [encode(moment, book) for moment, book in zip(moments, books)] if eight else coded
        if step in (1, STEPS):
            written[f"{name}.{step}.weights"] = weights
            for key, code in zip(["first", "second"], coded if eight else []):
                written[f"{name}.{step}.{key}"], written[f"{name}.{step}.{key}.absmax"] = code
    return written


def compare(ours):
    """How far bitsandbytes' reference in torch is from that."""
    import bitsandbytes.functional as F
    import torch
    torch._dynamo.config.disable = True
    from bitsandbytes.backends.triton.kernels_optim import optimizer_update_8bit_blockwise_pytorch
    size = SIZES["large"]
    maps = [F.create_dynamic_map(True), F.create_dynamic_map(False)]
    print("numbers of the codes apart:", *(np.abs(map.numpy() - numbers(signed)).max() for map, signed in zip(maps, [True, False])))
    weights = torch.from_numpy(noise(size, 7).astype(f32))
    codes = [torch.zeros(size, dtype=torch.uint8) for _ in maps]
    largest = [torch.zeros(-(-size // BLOCK)) for _ in maps]
    for step in range(1, STEPS + 1):
        optimizer_update_8bit_blockwise_pytorch(
            weights, torch.from_numpy(gradient(size, step)), *codes, BETA1, BETA2, 0.0, 0.0, EPSILON, step, RATE, *maps, *largest, DECAY, 1.0, False,
            optimizer_name="adam")
    apart = lambda key, theirs: np.abs(ours[f"large.{STEPS}.{key}"].astype(np.float64) - theirs.numpy().astype(np.float64))
    print("weights apart:", apart("weights", weights).max())
    for key, code in zip(["first", "second"], codes):
        off = apart(key, code)
        print(f"{key}: codes that differ {int((off > 0).sum())} of {size}, by at most {off.max():.0f}")


if __name__ == "__main__":
    tensors = {key: value for name, size in SIZES.items() for key, value in run(name, size).items()}
    save_file(tensors, OUT)
    print(OUT.stat().st_size, "bytes")
    compare(tensors)
