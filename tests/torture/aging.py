#!/usr/bin/env python3
"""An index that grew and shrank for a long time, compacted, beside one that was built at once: file size, search speed, memory.

    tests/torture/aging.py PATH/TO/ivf [--rows N] [--batches N] [--dim D] [--nlist N] [--rounds N] [--within SHARE]

Rows arrive in batches; after each, some blocks of the rows that are there are removed, half of all in the end, among them
single rows. Both indexes then have the same rows under the same ids and must give the same results, byte for byte. Searches
take turns; what counts is the median of the ratios. Exit code 1 when something is more than SHARE larger or slower than in
the fresh index (speed is not judged without --within: machines are shared).
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile


class Ivf:
    def __init__(self, program, directory):
        self.program, self.directory = str(program.resolve()), directory

    def __call__(self, *words, **how):
        run = subprocess.run([self.program, *map(str, words)], cwd=self.directory, capture_output=True, check=False, **how)
        if run.returncode != 0:
            sys.exit(f"aging: ivf {' '.join(map(str, words))}: exit code {run.returncode}: {run.stderr.decode()}")
        return run.stdout

    def peak(self, *words):
        """Peak resident memory of a run, in KiB, the pages of the mapped file counted in."""
        script = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); " \
                 "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        run = subprocess.run([sys.executable, "-c", script, self.program, *map(str, words)], cwd=self.directory,
                             capture_output=True, text=True, check=True)
        return int(run.stdout.split()[-1])


def ranges_of(ids):
    """Sorted ids as pairs of first and last."""
    found = []
    for one in ids:
        if found and found[-1][1] == one - 1:
            found[-1][1] = one
        else:
            found.append([one, one])
    return found


def grow_and_shrink(ivf, data, options, choose):
    """Adds everything and removes half, in turns; returns the ids that are left, and the numbers of adds and removals."""
    batch = options.rows // options.batches
    block = max(1, batch // 8)
    blocks, gone, removals = [], set(), 0
    for number in range(options.batches):
        ivf("add", "aged.ivf", data, "--start", number * batch, "--count", batch, "-q")
        blocks += [(first, first + block - 1) for first in range(number * batch, (number + 1) * batch - block + 1, block)]
        choose.shuffle(blocks)
        # As many rows as have come since, halved; and a few single ones.
        taken, blocks = blocks[:4], blocks[4:]
        singles = [choose.randrange((number + 1) * batch) for _ in range(20)]
        spec = ",".join([f"{first}-{last}" for first, last in taken] + [str(one) for one in singles])
        ivf("remove", "aged.ivf", "--ids", spec, "-q")
        for first, last in taken:
            gone.update(range(first, last + 1))
        gone.update(singles)
        removals += 1
    rows = batch * options.batches
    return [i for i in range(rows) if i not in gone], options.batches, removals


def build_fresh(ivf, data, left):
    """The same rows in one add, from a pipe."""
    with open(ivf.directory / "left.txt", "w", encoding="ascii") as out:
        out.writelines(f"{first}-{last}\n" for first, last in ranges_of(left))
    add = subprocess.Popen([ivf.program, "add", "fresh.ivf", "-", "--ids", "left.txt", "-q"], cwd=ivf.directory,
                           stdin=subprocess.PIPE)
    for first, last in ranges_of(left):
        subprocess.run([ivf.program, "convert", data, "fvecs:-", "--start", str(first), "--count", str(last - first + 1), "-q"],
                       cwd=ivf.directory, stdout=add.stdin, check=True)
    add.stdin.close()
    if add.wait() != 0:
        sys.exit("aging: the fresh index could not be built")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ivf", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=40000)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--nlist", type=int, default=64)
    parser.add_argument("--nq", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--within", type=float, help="judge speed and memory, too")
    parser.add_argument("--directory", type=pathlib.Path, help="where the files go, and stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ivf-aging-") as name:
        directory = options.directory or pathlib.Path(name)
        directory.mkdir(exist_ok=True)
        ivf = Ivf(options.ivf, directory)
        data = f"gaussian:n={options.rows},d={options.dim},seed=11"
        ivf("train", data, "-o", "aged.ivf", "--nlist", options.nlist, "--count", min(options.rows, 100 * options.nlist),
            "--force", "-q")
        (directory / "fresh.ivf").write_bytes((directory / "aged.ivf").read_bytes())
        left, adds, removals = grow_and_shrink(ivf, data, options, random.Random(5))
        aged_bytes = os.path.getsize(directory / "aged.ivf")
        before = json.loads(ivf("info", "aged.ivf", "--json"))
        ivf("compact", "aged.ivf", "-q")
        build_fresh(ivf, data, left)
        info = {name: json.loads(ivf("info", f"{name}.ivf", "--json")) for name in ("aged", "fresh")}
        if info["aged"]["nb"] != len(left) or info["fresh"]["nb"] != len(left):
            sys.exit(f"aging: expected {len(left)} rows, found {info['aged']['nb']} and {info['fresh']['nb']}")
        print(f"aging: {adds} adds of {options.rows:,} rows in all, {removals} removals, {len(left):,} rows left, "
              f"{before['segments']} segments, {before['removed']:,} removed rows")
        print(f"aging: file {aged_bytes:,} bytes, compacted {os.path.getsize(directory / 'aged.ivf'):,}, "
              f"fresh {os.path.getsize(directory / 'fresh.ivf'):,}")

        queries = f"gaussian:n={options.nq},d={options.dim},seed=12"
        search = ["-k", 10, "--nprobe", max(1, options.nlist // 16), "--json", "--force"]
        ratios, times = [], {"aged": [], "fresh": []}
        for _ in range(options.rounds):
            for name in times:
                out = json.loads(ivf("search", f"{name}.ivf", queries, *search, "-o", f"{name}.h5"))
                times[name].append(out["search_ms"])
            ratios.append(times["aged"][-1] / times["fresh"][-1])
        results = [ivf("search", f"{name}.ivf", queries, *search[:4], "-o", "tsv:-", "-q") for name in times]
        peaks = {name: ivf.peak("search", f"{name}.ivf", queries, *search, "-o", f"{name}.h5") for name in times}
        size = os.path.getsize(directory / "aged.ivf") / os.path.getsize(directory / "fresh.ivf")
        speed, memory = statistics.median(ratios), peaks["aged"] / peaks["fresh"]
        print(f"aging: compacted to fresh: size {size:.4f}, search time {speed:.3f} (median of {options.rounds}; "
              f"{statistics.median(times['aged']):.1f} ms and {statistics.median(times['fresh']):.1f} ms), "
              f"peak memory {memory:.3f} ({peaks['aged']:,} and {peaks['fresh']:,} KiB)")
        if results[0] != results[1]:
            sys.exit("aging: the compacted index and the fresh one give other results")
        print(f"aging: the results of {options.nq} queries are the same, byte for byte")
        worst = [("size", size, 0.05)]
        if options.within is not None:
            worst += [("search time", speed, options.within), ("peak memory", memory, options.within)]
        for what, ratio, share in worst:
            if ratio > 1 + share:
                sys.exit(f"aging: {what} is {ratio:.3f} times that of the fresh index, more than {1 + share}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
