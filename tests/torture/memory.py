#!/usr/bin/env python3
"""--max-memory holds: the memory of train, add, search, convert and truth on data far larger than it.

    tests/torture/memory.py PATH/TO/ivf [--limit MIB] [--times N]

The inputs are N times the limit. Measured is what the kernel counts as the process's own pages (RssAnon and RssShmem of it
and its helpers, looked at every millisecond). Allowed is 1.1 times the limit and 8 MiB for the program itself, its threads
and the buffers of its files.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
DIM = 64
PROGRAM = 8 * MIB


def family(pid):
    """The process and its children."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
                found += [int(child) for child in children.read().split()]
    except OSError:
        pass
    return found


def own_bytes(pid):
    """Pages that are the process's own: not those of files, which the kernel takes back when it wants."""
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/status", encoding="ascii") as status:
                for line in status:
                    if line.startswith(("RssAnon:", "RssShmem:")):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass  # It ended just now.
    return total


class Measure:
    def __init__(self, ivf, directory):
        self.ivf, self.directory = str(ivf.resolve()), directory

    def run(self, *words):
        """The peak of a run that must succeed, in bytes."""
        peak = 0
        with open(self.directory / "stderr", "w+b") as stderr:
            process = subprocess.Popen([self.ivf, *map(str, words), "-q"], cwd=self.directory, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=stderr)
            while process.poll() is None:
                peak = max(peak, own_bytes(process.pid))
                time.sleep(0.001)
            if process.returncode != 0:
                stderr.seek(0)
                sys.exit(f"memory: ivf {' '.join(map(str, words))}: exit code {process.returncode}: {stderr.read().decode()}")
        return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ivf", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--only", default="", help="commands whose name holds this")
    options = parser.parse_args()
    limit = options.limit * MIB
    rows = options.times * limit // (4 * DIM)
    with tempfile.TemporaryDirectory(prefix="ivf-memory-") as name:
        measure = Measure(options.ivf, pathlib.Path(name))
        measure.run("convert", f"gaussian:n=100,d={DIM},seed=3", "small.fvecs")
        measure.run("convert", f"gaussian:n={rows},d={DIM},seed=3", "large.fvecs")
        measure.run("convert", "large.fvecs", "large.h5")
        for index in ("large.ivf", "empty.ivf"):
            measure.run("train", f"gaussian:n=4000,d={DIM}", "-o", index, "--nlist", "64", "--iterations", "2")
        measure.run("add", "large.ivf", "large.fvecs")
        measure.run("train", f"gaussian:n=4000,d={DIM},seed=8", "-o", "other.ivf", "--nlist", "32", "--iterations", "2")
        commands = {
            "convert to npy": "convert large.fvecs out.npy --force", "convert from h5": "convert large.h5 out.fbin --force",
            "convert to h5": "convert large.fvecs out.h5 --force",
            "train": "train large.fvecs -o out.ivf --nlist 64 --iterations 2 --force",
            "train compressed": "train large.h5 -o out.ivf --nlist 64 --iterations 2 --force --compress",
            "add": "add empty.ivf large.fvecs", "search": "search large.ivf large.fvecs -k 10 --nprobe 1 -o out.npy --force",
            "search of few": "search large.ivf small.fvecs -k 10 --nprobe 64 -o out.npy --force",
            "compact": "compact large.ivf -o out.ivf --force", "compact sorted": "compact large.ivf -o out.ivf --sort --force",
            "compact compressed": "compact large.ivf -o packed.ivf --compress --force",
            "compact of zstd": "compact packed.ivf -o out.ivf --no-compress --force",
            "merge": "merge out.ivf other.ivf large.ivf --ids shift --force", "split": "split large.ivf --shards 3 --out out --force",
            "truth": "truth --base large.fvecs --queries small.fvecs -k 10 -o out.npy --force",
        }
        code = 0
        cap = f"--max-memory {options.limit}M --threads 2".split()
        for what, words in commands.items():
            if options.only not in what:
                continue
            peak = measure.run(*words.split(), *cap)
            allowed = limit * 11 // 10 + PROGRAM
            verdict = "  NOT MEASURED" if peak == 0 else "" if peak <= allowed else "  TOO MUCH"
            code |= verdict != ""
            print(f"memory: {what:18} input {options.times * options.limit} MiB, limit {options.limit} MiB: peak {peak / MIB:.1f} MiB{verdict}", flush=True)
        return code


if __name__ == "__main__":
    sys.exit(main())
