#!/usr/bin/env python3
"""Prints recall and speed over nprobe for a data set in the ann-benchmarks layout, as a Markdown table.

    scripts/recall-table.py datasets/cache/glove-100.h5 --nlist 1024

Trains and fills an index in out/ (kept, and used again when --nlist is the same), then searches once per nprobe and
once exactly. The last row, nprobe = nlist, must equal the exact search byte for byte, ids and distances: it is compared.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"recall-table: {' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def ensure_index(arguments, index):
    if index.is_file():
        return
    index.parent.mkdir(parents=True, exist_ok=True)
    temporary = index.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    run(arguments.ivf, "train", arguments.data, "-o", temporary, "--nlist", arguments.nlist)
    run(arguments.ivf, "add", temporary, arguments.data)
    temporary.rename(index)


def search(arguments, index, *options):
    """The summary of the run of median speed."""
    runs = [json.loads(run(arguments.ivf, "search", index, arguments.data, "-k", arguments.k, "--truth", arguments.data,
                           "--json", *options)) for _ in range(arguments.repeat)]
    return min(runs, key=lambda record: abs(record["qps"] - statistics.median_low([r["qps"] for r in runs])))


def results(arguments, index, name, *options):
    """Ids and distances of all queries as bytes."""
    ids, distances = index.with_suffix(f".{name}.ivecs"), index.with_suffix(f".{name}.fvecs")
    run(arguments.ivf, "search", index, arguments.data, "-k", arguments.k, *options, "-o", ids, "--out-distances", distances,
        "--force")
    found = ids.read_bytes(), distances.read_bytes()
    ids.unlink()
    distances.unlink()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, help="HDF5 file with train, test and neighbors")
    parser.add_argument("--nlist", type=int, default=1024)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--nprobe", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--repeat", type=int, default=9, help="runs for each row; the median counts")
    parser.add_argument("--ivf", default="build/apps/ivf", help="the program")
    arguments = parser.parse_args()
    index = pathlib.Path("out") / f"{arguments.data.stem}-{arguments.nlist}.ivf"
    ensure_index(arguments, index)

    print(f"| nprobe | recall@{arguments.k} | queries a second | rows scanned |\n|---:|---:|---:|---:|")
    steps = [nprobe for nprobe in arguments.nprobe if nprobe < arguments.nlist]
    for label, options in [*((str(n), ["--nprobe", n]) for n in [*steps, arguments.nlist]), ("exact", ["--exact"])]:
        record = search(arguments, index, *options)
        share = record["rows_scanned"] / (record["nb"] * record["nq"])
        print(f"| {label} | {record['recall_at_k']:.4f} | {record['qps']:,.0f} | {share:.2%} |", flush=True)

    if results(arguments, index, "all", "--nprobe", arguments.nlist) != results(arguments, index, "exact", "--exact"):
        sys.exit("recall-table: nprobe = nlist and --exact differ")
    print("\nnprobe = nlist equals --exact byte for byte, ids and distances.")


if __name__ == "__main__":
    main()
