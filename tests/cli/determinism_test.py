#!/usr/bin/env python3
"""The same bytes, whatever the threads, the instruction set, the batches and the way the rows come."""
import json

from support import SANITIZED, IvfTest, digest, main

LEVELS = ("scalar", "avx2", "avx512", "avx512bf16", "amx", "neon")
THREADS = (1, 7) if SANITIZED else (1, 2, 7)
NLIST = 50


class Determinism(IvfTest):
    def setUp(self):
        super().setUp()
        self.ivf("convert", "gaussian:n=6200,d=37,seed=5", "base.fvecs", "--count", "6000", "-q")
        self.ivf("convert", "gaussian:n=6200,d=37,seed=5", "queries.fvecs", "--start", "6000", "-q")

    def levels(self):
        """The levels that this machine has: ivf refuses the others as misuse."""
        found = []
        for level in LEVELS:
            code, _, stderr = self.run_ivf("demo", "--nb", "100", "--nq", "1", "--dim", "4", "--nlist", "2", "-q",
                                           env={"IVF_ISA": level})
            self.assertIn(code, (0, 2), stderr)
            if code == 0:
                found.append(level)
        self.assertIn("scalar", found)
        return found

    def build(self, name, metric="l2", options=(), env=None):
        self.ivf("train", "base.fvecs", "-o", name, "--nlist", NLIST, "--metric", metric, "--force", "-q", *options, env=env)
        self.ivf("add", name, "base.fvecs", "-q", *options, env=env)

    def results(self, index, *options, env=None):
        return self.ivf("search", index, "queries.fvecs", "-o", "tsv:-", "-q", *options, env=env)

    def test_threads_and_levels(self):
        searches = {
            "probed": ("-k", "20", "--nprobe", "8"),
            "probed by query": ("-k", "20", "--nprobe", "8", "--search-mode", "matrix"),
            "probed by list": ("-k", "20", "--nprobe", "8", "--search-mode", "csr"),
            "all lists": ("-k", "20", "--nprobe", NLIST),
            "exact": ("-k", "20", "--exact"),
            "capped": ("-k", "20", "--nprobe", "8", "--max-codes", "333"),
        }
        levels = self.levels()
        for metric, radius in (("l2", "45"), ("ip", "12"), ("cosine", "0.4")):
            searches["radius"] = ("--nprobe", "8", "--radius", radius)
            expected = None
            for level in levels if metric == "l2" or not SANITIZED else levels[-1:]:
                env = {"IVF_ISA": level}
                for threads in THREADS:
                    with self.subTest(metric=metric, level=level, threads=threads):
                        self.build("a.ivf", metric, ("--threads", threads), env)
                        found = {name: self.results("a.ivf", *options, "--threads", threads, env=env)
                                 for name, options in searches.items()}
                        found["index"] = digest(self.path / "a.ivf")
                        expected = expected or found
                        self.assertEqual([name for name in expected if expected[name] != found[name]], [])
                with self.subTest(metric=metric, level=level):
                    summary = json.loads(self.ivf("search", "a.ivf", "queries.fvecs", "--json", "-q", env=env))
                    self.assertEqual(summary["isa"], level)
            self.assertEqual(expected["probed by query"], expected["probed"])
            self.assertEqual(expected["probed by list"], expected["probed"])
            self.assertEqual(expected["all lists"], expected["exact"])
            # The comparisons above mean something: 8 lists miss neighbours, the cap misses more, the radius finds some.
            self.assertNotEqual(expected["probed"], expected["exact"])
            self.assertNotEqual(expected["capped"], expected["probed"])
            self.assertGreater(expected["radius"].count(b"\n"), 100)

    def test_all_formats_hold_the_same_results(self):
        self.build("a.ivf")
        for mode in (("--nprobe", NLIST), ("--exact",)):
            name = str(mode[-1]).strip("-")
            self.ivf("search", "a.ivf", "queries.fvecs", "-o", f"{name}.ivecs", "--out-distances", f"{name}.fvecs", "-q", *mode)
            self.ivf("search", "a.ivf", "queries.fvecs", "-o", f"{name}.jsonl", "-q", *mode)
            self.ivf("search", "a.ivf", "queries.fvecs", "-o", f"{name}.npy", "-q", *mode)
            self.ivf("search", "a.ivf", "queries.fvecs", "-o", f"gt:{name}.gt", "-q", *mode)
        for extension in ("ivecs", "fvecs", "jsonl", "npy", "gt"):
            self.assertEqual(digest(self.path / f"exact.{extension}"), digest(self.path / f"{NLIST}.{extension}"), extension)
        self.ivf("search", "a.ivf", "queries.fvecs", "-o", "all.h5", "--exact", "-q")
        self.ivf("convert", "all.h5:neighbors", "from_h5.ivecs", "-q")
        self.ivf("convert", "all.h5:distances", "from_h5.fvecs", "-q")
        self.ivf("convert", "gt:exact.gt", "from_gt.ivecs", "-q")
        self.ivf("convert", "gt:exact.gt:distances", "from_gt.fvecs", "-q")
        for source in ("from_h5", "from_gt"):
            self.assertEqual(digest(self.path / f"{source}.ivecs"), digest(self.path / "exact.ivecs"), source)
            self.assertEqual(digest(self.path / f"{source}.fvecs"), digest(self.path / "exact.fvecs"), source)

    def test_one_add_or_many(self):
        self.build("one.ivf")
        self.ivf("train", "base.fvecs", "-o", "many.ivf", "--nlist", NLIST, "-q")
        for start, count in ((0, 1), (1, 2999), (3000, 0), (3000, 3000)):
            self.ivf("add", "many.ivf", "base.fvecs", "--start", start, "--count", count, "-q")
        self.assertEqual(json.loads(self.ivf("info", "many.ivf", "--json"))["segments"], 3)
        for options in (("--nprobe", "8"), ("--exact",), ("--nprobe", "8", "--max-codes", "333"), ("--radius", "45")):
            self.assertEqual(self.results("one.ivf", *options), self.results("many.ivf", *options), options)

    def test_memory_cap_and_compression(self):
        self.build("a.ivf")
        self.build("small.ivf", options=("--max-memory", "4M"))
        self.ivf("train", "base.fvecs", "-o", "packed.ivf", "--nlist", NLIST, "--compress", "-q")
        self.ivf("add", "packed.ivf", "base.fvecs", "-q")
        for options in (("--nprobe", "8"), ("--exact",)):
            expected = self.results("a.ivf", *options)
            self.assertEqual(self.results("a.ivf", "--max-memory", "1M", *options), expected)
            self.assertEqual(self.results("small.ivf", *options), expected)
            self.assertEqual(self.results("packed.ivf", *options), expected)

    def test_truth_in_blocks(self):
        arguments = ("truth", "--base", "base.fvecs", "--queries", "queries.fvecs", "-k", "30", "-o", "tsv:-", "-q")
        for metric in ("l2", "ip", "cosine"):
            expected = self.ivf(*arguments, "--metric", metric)
            for block in (1000, 4097, 6000):
                self.assertEqual(self.ivf(*arguments, "--metric", metric, "--block", block), expected, (metric, block))
            self.ivf("train", "base.fvecs", "--flat", "-o", "flat.ivf", "--metric", metric, "--force", "-q")
            self.ivf("add", "flat.ivf", "base.fvecs", "-q")
            self.assertEqual(self.results("flat.ivf", "-k", "30"), expected, metric)
        # Blocks smaller than k.
        few = ("truth", "--base", "base.fvecs", "--count", "50", "--queries", "queries.fvecs", "-k", "30", "-o", "tsv:-", "-q")
        self.assertEqual(self.ivf(*few, "--block", "7"), self.ivf(*few))

    def test_samples_do_not_depend_on_the_source(self):
        sample = ("--nlist", "10", "--train-n", "500", "-q")
        self.ivf("train", "base.fvecs", "-o", "file.ivf", *sample)
        with open(self.path / "base.fvecs", "rb") as pipe:
            self.ivf("train", "-", "-o", "pipe.ivf", *sample, stdin=pipe)
        self.ivf("convert", "base.fvecs", "base.hdf5", "-q")
        self.ivf("train", "base.hdf5", "-o", "hdf5.ivf", *sample)
        self.assertEqual(digest(self.path / "file.ivf"), digest(self.path / "pipe.ivf"))
        self.assertEqual(digest(self.path / "file.ivf"), digest(self.path / "hdf5.ivf"))
        self.ivf("train", "base.fvecs", "-o", "seed.ivf", *sample, "--seed", "2")
        self.assertNotEqual(digest(self.path / "file.ivf"), digest(self.path / "seed.ivf"))


if __name__ == "__main__":
    main()
