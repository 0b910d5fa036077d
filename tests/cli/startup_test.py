#!/usr/bin/env python3
"""Commands that need no module start at once: 50 ms at most, the program's whole run included."""
import time

from support import IvfTest, main

LIMIT_MS = 50
RUNS = 20


class Startup(IvfTest):
    def best_of_runs(self, *arguments):
        """Other work on a machine only adds time: the least of some runs is the program's own."""
        best = float("inf")
        for _ in range(RUNS):
            start = time.perf_counter()
            self.ivf(*arguments)
            best = min(best, (time.perf_counter() - start) * 1e3)
            if best < LIMIT_MS / 2:
                break
        return best

    def test_help(self):
        self.assertLess(self.best_of_runs("--help"), LIMIT_MS)

    def test_search_of_a_small_index(self):
        self.ivf("train", "gaussian:n=1000,d=32,seed=1", "-o", "a.ivf", "--nlist", "16", "-q")
        self.ivf("add", "a.ivf", "gaussian:n=1000,d=32,seed=1", "-q")
        self.assertLess(self.best_of_runs("search", "a.ivf", "gaussian:n=10,d=32,seed=2", "--device", "cpu", "-q"), LIMIT_MS)


if __name__ == "__main__":
    main()
