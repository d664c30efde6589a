"""Reads small_fine_foods out of the data base of an R package and writes its rows: python3 fine_foods.py DATA_FOLDER OUT_FOLDER

DATA_FOLDER holds Rdata.rdx (where each object lies) and Rdata.rdb (the objects, each compressed by itself). Used by fetch-models.mjs.
"""
import bz2
import gzip
import json
import lzma
import struct
import sys
import zlib
from pathlib import Path

LZMA = [dict(id=lzma.FILTER_LZMA2, dict_size=1 << 26)]


class Reader:
    """R's serialisation in its XDR form, as far as lists, vectors and strings go."""

    def __init__(self, data):
        self.data, self.at, self.references = data, 0, []

    def take(self, form, size):
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += size
        return value

    def int(self):
        return self.take("i", 4)

    def document(self):
        assert self.data[:2] == b"X\n", "not in XDR form"
        self.at = 2
        version = self.int()
        self.at += 8
        if version == 3:
            self.at += 4 + struct.unpack_from(">i", self.data, self.at)[0]
        return self.item()

    def refer(self, value):
        self.references.append(value)
        return value

    def item(self):
        flags = self.int()
        kind, has_attributes, has_tag = flags & 255, flags & 512, flags & 1024
        if kind in (254, 242, 241, 253, 251, 252):
            return None
        if kind == 255:
            return self.references[(flags >> 8 or self.int()) - 1]
        if kind == 1:
            return self.refer(self.item())
        if kind in (2, 6):
            attributes = self.item() if has_attributes else None
            tag = self.item() if has_tag else None
            head = self.item()
            tail = self.item()
            return [(tag, head)] + (tail or [])
        if kind == 9:
            size = self.int()
            if size < 0:
                return None
            text = self.data[self.at:self.at + size]
            self.at += size
            return text.decode("utf-8", "replace")
        if kind == 238:
            info, state, attributes = self.item(), self.item(), self.item()
            return self.compact(info, state)
        values = self.vector(kind)
        if not has_attributes:
            return values
        attributes = dict(self.item())
        if "levels" in attributes:
            return [attributes["levels"][i - 1] for i in values]
        return dict(zip(attributes["names"], values)) if "names" in attributes and kind == 19 else values

    def compact(self, info, state):
        """Vectors that R keeps in short: a wrapped one, or a range."""
        name = info[0][1]
        if name.startswith("wrap_"):
            return state[0] if not isinstance(state[0], tuple) else state[0][1]
        count, first, step = state
        return [first + i * step for i in range(int(count))]

    def vector(self, kind):
        size = self.int()
        if kind in (10, 13):
            return [self.int() for _ in range(size)]
        if kind == 14:
            return [self.take("d", 8) for _ in range(size)]
        if kind in (16, 19, 20):
            return [self.item() for _ in range(size)]
        if kind == 24:
            self.at += size
            return None
        raise ValueError(f"R type {kind} is not read here")


def inflate(block):
    """A block: its length, then how it is packed."""
    (size,) = struct.unpack(">I", block[:4])
    kind, body = block[4:5], block[5:]
    if kind == b"Z":
        data = lzma.decompress(body, format=lzma.FORMAT_RAW, filters=LZMA)
    elif kind == b"2":
        data = bz2.decompress(body)
    else:
        data = zlib.decompress(block[4:])
    assert len(data) == size, "a block is damaged"
    return data


def unpack(data):
    """A file that R has saved: gzip, bzip2, xz or zlib by its first bytes."""
    for magic, decompress in ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress)):
        if data.startswith(magic):
            return decompress(data)
    return zlib.decompress(data)


def main(folder, out):
    index = Reader(unpack((folder / "Rdata.rdx").read_bytes())).document()
    blocks = (folder / "Rdata.rdb").read_bytes()
    for name, part in (("training_data", "train"), ("testing_data", "test")):
        offset, size = index["variables"][name]
        frame = Reader(inflate(blocks[offset:offset + size])).document()
        rows = [dict(text=text, label=score) for text, score in zip(frame["review"], frame["score"])]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / f"finefoods-{part}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
