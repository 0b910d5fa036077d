#!/usr/bin/env python3
"""Two writers and four readers of one index at once, all of them killed (SIGKILL) at random moments.

    tests/torture/storm.py PATH/TO/ivf [--seconds N] [--seed S]

Every add that says that it is done is there; an add that was killed is there whole or not at all; a writer that finds
another one at work says so; a reader that is not killed never fails, and sees a number of rows that was committed.
"""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROWS = 2000
TIMEOUT_S = 120
LOCKED = "another writer holds its lock"


class Storm:
    def __init__(self, ivf, directory, seed):
        self.ivf, self.directory = str(ivf.resolve()), directory
        self.lock = threading.Lock()
        self.seeds = random.Random(seed)
        self.stop = time.monotonic()
        self.counts = dict.fromkeys(("adds", "refused", "writers killed", "reads", "readers killed"), 0)
        self.failures = []
        self.done = 0  # Adds that said so.
        self.maybe = 0  # Adds that were killed.

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def fail(self, why):
        with self.lock:
            self.failures.append(why)

    def start(self, *words):
        return subprocess.Popen([self.ivf, *words, "--threads", "1"], cwd=self.directory, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def must(self, *words):
        process = self.start(*words, "-q")
        _, stderr = process.communicate(timeout=TIMEOUT_S)
        if process.returncode != 0:
            sys.exit(f"storm: ivf {' '.join(words)}: {stderr}")

    def write(self, rng):
        while time.monotonic() < self.stop:
            kill = rng.random() < 0.5
            process = self.start("add", "a.ivf", "base.fvecs", "-q")
            if kill:
                time.sleep(rng.random() * 0.06)
                process.kill()
            _, stderr = process.communicate(timeout=TIMEOUT_S)
            if process.returncode == 0:
                with self.lock:
                    self.done += 1
                self.count("adds")
            elif process.returncode == -signal.SIGKILL:
                with self.lock:
                    self.maybe += 1
                self.count("writers killed")
            elif process.returncode == 1 and LOCKED in stderr and stderr.count("\n") == 1:
                self.count("refused")
                time.sleep(rng.random() * 0.02)
            else:
                self.fail(f"add: exit code {process.returncode}: {stderr}")

    def read(self, rng):
        seen = 0
        while time.monotonic() < self.stop:
            words = rng.choice((("info", "a.ivf", "--json"), ("verify", "a.ivf", "--json"), ("verify", "a.ivf", "--quick", "--json"),
                                ("search", "a.ivf", "queries.fvecs", "--nprobe", "8", "-k", "3", "--verify", "--json")))
            process = self.start(*words)
            if rng.random() < 0.2:
                time.sleep(rng.random() * 0.03)
                process.kill()
            stdout, stderr = process.communicate(timeout=TIMEOUT_S)
            if process.returncode == -signal.SIGKILL:
                self.count("readers killed")
                continue
            self.count("reads")
            if process.returncode != 0:
                self.fail(f"{' '.join(words)}: exit code {process.returncode}: {stderr}")
                continue
            if words[0] == "info":
                rows = json.loads(stdout)["nb"]
                if rows % ROWS != 0 or rows < seen:
                    self.fail(f"info: {rows} rows after {seen}")
                seen = rows

    def run(self, seconds):
        self.must("convert", f"gaussian:n={ROWS},d=16", "base.fvecs")
        self.must("convert", "gaussian:n=10,d=16,seed=5", "queries.fvecs")
        self.must("train", "base.fvecs", "-o", "a.ivf", "--nlist", "16", "--iterations", "2")
        self.stop = time.monotonic() + seconds
        threads = [threading.Thread(target=work, args=(random.Random(self.seeds.random()),))
                   for work in [self.write] * 2 + [self.read] * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process = self.start("verify", "a.ivf")
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        if process.returncode != 0:
            self.fail(f"verify at the end: {stderr}")
        rows = json.loads(subprocess.run([self.ivf, "info", "a.ivf", "--json"], cwd=self.directory, check=True,
                                         capture_output=True).stdout)["nb"]
        if not self.done * ROWS <= rows <= (self.done + self.maybe) * ROWS:
            self.fail(f"{rows} rows after {self.done} adds of {ROWS} that were done and {self.maybe} that were killed")
        left = [name for name in os.listdir(self.directory) if ".tmp" in name or ".part" in name]
        if left:
            self.fail(f"left behind: {left}")
        print(f"storm: {seconds} s, {', '.join(f'{n} {what}' for what, n in self.counts.items())}; {rows} rows at the end: {stdout.strip()}")
        for failure in self.failures:
            print(f"storm: {failure}")
        return 1 if self.failures or 0 in self.counts.values() else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ivf", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ivf-storm-") as name:
        return Storm(options.ivf, pathlib.Path(name), options.seed).run(options.seconds)


if __name__ == "__main__":
    sys.exit(main())
