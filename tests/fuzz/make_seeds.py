#!/usr/bin/env python3
"""Writes the seeds of the fuzz targets (tests/fuzz/seeds/): small inputs of every kind that a target understands.

    tests/fuzz/make_seeds.py          they are committed; run it after the shape of an input has changed
"""
import json
import pathlib
import shutil
import struct
import subprocess
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent


class Seeds:
    def __init__(self, target):
        self.folder = HERE / "seeds" / target
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def add(self, name, data):
        (self.folder / name).write_bytes(data)


def pieces(repairs, data):
    return repairs + data[:128] + data[4096:4224] + data[8192:8320] + data[12288:]


def container():
    """Which repairs to leave out, header, superblock of each slot, everything from offset 12288 on. The golden files hold
    invented norms, which a verification refuses: small indexes that the program makes get beyond that."""
    seeds = Seeds("container")
    for path in sorted((TESTS / "golden").glob("*.ivf")):
        data = path.read_bytes()
        seeds.add(path.stem, pieces(b"\0", data))
        if path.stem == "v1-ivf-l2":
            seeds.add(path.stem + "-as-it-is", pieces(b"\x0f", data))
    program = TESTS.parent / "build-ci" / "apps" / "ivf"
    with tempfile.TemporaryDirectory() as folder:
        for name, commands in {
            "engine-flat": ("train gaussian:n=9,d=5 --flat --metric ip", "add gaussian:n=9,d=5"),
            "engine-removed": ("train gaussian:n=40,d=6 --nlist 4", "add gaussian:n=30,d=6", "add gaussian:n=7,d=6,seed=2", "remove --ids 3-5,31"),
            "engine-compressed": ("train clustered:n=60,d=4 --nlist 3 --metric cosine --compress", "add clustered:n=60,d=4"),
        }.items():
            index = pathlib.Path(folder) / (name + ".ivf")
            for command in commands:
                verb, *rest = command.split()
                words = [verb, *rest, "-o", index] if verb == "train" else [verb, index, *rest]
                subprocess.run([program, *words, "-q"], check=True)
            seeds.add(name, pieces(b"\0", index.read_bytes()))


def faiss():
    """How to import (little memory, as cosine, compressed); then a file of faiss."""
    seeds = Seeds("faiss")
    for number, path in enumerate(sorted((TESTS / "golden" / "faiss").glob("*.faiss"))):
        data = path.read_bytes()
        seeds.add(path.stem, bytes((number & 1,)) + data)
        if path.stem in ("flat-ip", "ivf-ip-few-lists"):
            seeds.add(path.stem + "-as-cosine", b"\7" + data)
        seeds.add(path.stem + "-cut", b"\0" + data[:-5])


def choice(number, size):
    """What picks one of several formats: a uint32; then the first row and the size of a batch."""
    return struct.pack("<IBB", number, 1, size)


def vecs():
    seeds = Seeds("vecs")
    rows = [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    for number, (name, code) in enumerate((("fvecs", "f"), ("bvecs", "B"), ("ivecs", "i"))):
        data = b"".join(struct.pack(f"<i4{code}", 4, *row) for row in rows)
        seeds.add(name, choice(number, 1) + data)
        seeds.add(name + "-cut", choice(number, 1) + data[:-3])
        seeds.add(name + "-mixed", choice(number, 1) + data + struct.pack(f"<i3{code}", 3, 1, 2, 3) + bytes(16))


def bin_files():
    seeds = Seeds("bin")
    for number, (name, code) in enumerate((("fbin", "f"), ("u8bin", "B"), ("i8bin", "b"), ("ibin", "i"))):
        seeds.add(name, choice(number, 2) + struct.pack(f"<II12{code}", 3, 4, *range(12)))
    truth = struct.pack("<II6i6f", 2, 3, *range(6), *range(6))
    for number, name in ((3, "ibin-of-truth"), (4, "gt"), (5, "gt-ids"), (6, "gt-distances")):
        seeds.add(name, choice(number, 2) + truth)


def npy():
    seeds = Seeds("npy")
    for name, descr, version, data in (("f4", "<f4", 1, struct.pack("<12f", *range(12))),
                                       ("f8-big", ">f8", 1, struct.pack(">12d", *range(12))),
                                       ("f2", "<f2", 2, struct.pack("<12e", *range(12))),
                                       ("u1", "|u1", 3, bytes(range(12))),
                                       ("i8", "<i8", 1, struct.pack("<12q", *range(12)))):
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (3, 4), }}\n".encode()
        length = struct.pack("<H" if version == 1 else "<I", len(text))
        seeds.add(name, bytes((1, 2)) + b"\x93NUMPY" + bytes((version, 0)) + length + text + data)
    text = b"{'descr': '<i4', 'fortran_order': True, 'shape': (12L,), }\n"
    seeds.add("one-axis", bytes((1, 2)) + b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + struct.pack("<12i", *range(12)))


def hdf5():
    """What to ask for (the metric, or rows), and a small file, made by h5py, or changes to one of these files: kind, place
    (2 bytes), value."""
    import io

    import h5py
    import numpy

    seeds = Seeds("hdf5")
    rows = numpy.arange(24, dtype="f4").reshape(6, 4)

    def add(name, fill, **options):
        data = io.BytesIO()
        with h5py.File(data, "w", **options) as file:
            fill(file)
        seeds.add(name, b"\0" + data.getvalue())
        if "attribute" in name or name == "contiguous":
            seeds.add(name + "-metric", b"\1" + data.getvalue())

    def annotated(file):
        file.attrs["distance"] = "euclidean"
        file.create_dataset("train", data=rows)
        file.create_dataset("test", data=rows[:2])

    add("contiguous", annotated)
    add("contiguous-latest", annotated, libver="latest")
    add("gzip", lambda file: file.create_dataset("train", data=rows, chunks=(2, 4), compression=4, shuffle=True, fletcher32=True))
    add("gzip-latest", lambda file: file.create_dataset("train", data=rows, chunks=(2, 4), compression=4, maxshape=(None, 4)), libver="latest")
    add("wide-latest", lambda file: file.create_dataset("train", data=rows, chunks=(2, 2), maxshape=(None, None)), libver="latest")
    add("compact", lambda file: file.create_dataset("train", data=rows.astype("u1"), dcpl=compact()))
    add("deep", lambda file: file.create_group("a/b/c").create_dataset("train", data=rows) and file.__setitem__("train", h5py.SoftLink("/a/b/c/train")))
    add("attribute", lambda file: file.attrs.create("distance", numpy.bytes_("angular")))
    seeds.add("with-a-change", b"\x80\3" + b"\4\x60\0\2")
    seeds.add("with-changes", b"\x80\7" + b"\6\x10\1\x40" + b"\3\x90\2\1" + b"\2\0\4\x20")
    seeds.add("with-changes-metric", b"\x81\0" + b"\5\x20\1\x09" + b"\1\x80\1\x10")


def compact():
    import h5py

    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    return properties


def hdf5_chunks():
    """Axes, size, chunk, edges, filters, type, number of chunks; then each chunk's place, filters to skip and bytes."""
    seeds = Seeds("hdf5_chunks")
    raw = struct.pack("<20f", *range(20))
    shape = bytes((1, 9, 3, 4, 3))  # 10 x 4 in chunks of 5 x 4
    seeds.add("plain", shape + bytes((0, 0, 0, 1, 0, 0, 0)) + raw)
    seeds.add("gzip", shape + bytes((0, 1, 0, 0, 1, 0, 0, 0)) + zlib.compress(raw))
    seeds.add("shuffle-gzip", shape + bytes((1, 2, 1, 0, 0, 1, 5, 0, 0)) + zlib.compress(raw))
    seeds.add("checksum", shape + bytes((0, 1, 2, 0, 1, 0, 0, 0)) + raw + bytes(4))
    seeds.add("one-axis", bytes((0, 39, 0, 19, 0, 0, 0, 4, 1, 0, 0, 0)) + raw)


def records():
    seeds = Seeds("records")
    lines = (TESTS / "records" / "sweep-nq.jsonl").read_bytes().splitlines(keepends=True)
    seeds.add("same", b"\0" + lines[0] + b"\x1e" + lines[0])
    seeds.add("identical", b"\1" + lines[0] + b"\x1e" + lines[0])
    slower = json.loads(lines[0])
    for key in ("search_ms", "search_ms_min"):
        slower[key] = slower[key] * 2
    slower["search_ms_runs"] = [slower["search_ms"]] * 5
    seeds.add("slower", b"\0" + lines[0] + b"\x1e" + json.dumps(slower).encode())
    small = {"library": "ivf", "metric": "l2", "dim": 1, "nb": 1, "nq": 1, "nlist": 1, "nprobe": 1, "topk": 1, "search_ms": 1.5}
    seeds.add("small", b"\0" + json.dumps(small).encode() + b"\n\n" + json.dumps({**small, "search_ms_runs": [1, 2, 3]}).encode())


def names():
    seeds = Seeds("names")
    for number, text in enumerate((
            "-", "a.fvecs", "dir.h5/a.npy", "A.BVECS", "a.h5", "a.h5:train", "a.hdf5:group/name", "h5:a:b", "h5:a.h5:b:c",
            "gt:a", "gt:a:ids", "gt:a:distances", "fbin:-", "tsv:-", "jsonl:a.tsv", "table:a", "a.jsonl", "a.txt",
            "gaussian:n=10,d=4,seed=5", "uniform:n=10,d=4,low=-1,high=1e3", "clustered:n=20,d=3,clusters=4,spread=0.5,seed=2",
            "gaussian:n=1k,d=2", "10k", "1.5G", "512MiB", "0.05", "5%", "1e-3", "18446744073709551616")):
        seeds.add(f"{number:02}", text.encode())


def lists():
    """What is read (ids, bits, filters, results as .tsv and .jsonl), then a file; 1, n, c stands for c, 2^n times."""
    seeds = Seeds("lists")
    for name, kind, text in (
            ("ids", 0, b"5\n7,9\n10-20\n-7--3, 9223372036854775807\n"),
            ("bits", 1, b"\x05\x00\x80\xff"),
            ("filters", 2, b'[1,5,"10-19"]\n{"ids":[]}\n{"name":{"a":[1.5e3,null,true]},"ids":["-9--3",7]}\n[1,5,"10-19"]\n'),
            ("filters-start", 132, b"[0]\n[-5]\n[2]"),
            ("long-line", 2, b"[1\1\x13 ]\n"),
            ("tsv", 3, b"0\t1\t5\t0.5\n0\t2\t7\tinf\n3\t1\t-8\t-1e-3\n"),
            ("jsonl", 4, b'{"query":0,"ids":[5,7],"distances":[0.5,null]}\n{"query":1,"ids":[],"distances":[]}\n'
                         b'{"distances":[-2],"ids":[4],"query":900}\n'),
            ("jsonl-ids", 4, b'{"query":2,"ids":[3]}\n'),
            ("jsonl-long", 4, b'{"query":2,"ids":[3\1\x12 ],"more":"\1\x10x"}\n')):
        seeds.add(name, bytes((kind,)) + text)


def search():
    """Metric, d, nlist, n, nq, k, nprobe, cap, memory, ids, mode, threads, kind of values, values."""
    seeds = Seeds("search")
    for metric in range(3):
        for kind in range(4):
            shape = bytes((3 + 20 * kind, 4, 60, 5, 9, 2, kind & 1, *([20] if kind & 1 else []), 0, kind >> 1 & 1, metric + kind, kind, kind))
            values = b"".join(struct.pack("<f", (i * 7 % 23) / 4 - 2) for i in range(100))
            seeds.add(f"metric{metric}-values{kind}", struct.pack("<I", metric) + shape + values)


if __name__ == "__main__":
    for make in (container, faiss, vecs, bin_files, npy, hdf5, hdf5_chunks, records, lists, names, search):
        make()
