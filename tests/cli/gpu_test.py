#!/usr/bin/env python3
"""What commands do with kernels of ivf on a GPU, which is an emulated one where MODULES holds the module of one.

    gpu_test.py IVF MODULES
"""
import json
import pathlib
import sys

from schema import problems
from support import IvfTest, digest, main

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
GPU = ("--device", "cuda")
SEARCHES = {
    "by query": ("-k", "7", "--nprobe", "3", "--search-mode", "matrix"),
    "by list": ("-k", "7", "--nprobe", "3", "--search-mode", "csr"),
    "capped": ("-k", "7", "--nprobe", "3", "--max-codes", "50"),
    "exact": ("-k", "7", "--exact"),
    "filtered": ("-k", "7", "--nprobe", "3", "--filter-not", "0-200"),
    "more than the engine returns": ("-k", "2500", "--exact"),
    "radius": ("--nprobe", "3", "--radius", "15"),
}
SMALL = ["--nb", "600", "--dim", "8", "--nlist", "6", "--topk", "5", "--nprobe", "2", "--train-n", "0", "--nq", "20",
         "--min-queries", "40", "--repeat", "2", "-q"]


class Gpu(IvfTest):
    modules = None

    def gpu(self, *arguments, **options):
        return self.ivf(*arguments, *GPU, env={"IVF_MODULE_DIR": self.modules}, **options)

    def records(self, output):
        schema = json.loads((DOCS / "record.schema.json").read_text(encoding="utf-8"))
        records = [json.loads(line) for line in output.splitlines()]
        for record in records:
            self.assertEqual(problems(record, schema), [])
        return records

    def test_files_and_results_are_those_of_the_cpu(self):
        self.ivf("convert", "clustered:n=620,d=9,seed=3", "base.fvecs", "--count", "600", "-q")
        self.ivf("convert", "clustered:n=620,d=9,seed=3", "queries.fvecs", "--start", "600", "-q")
        for ivf, name in ((self.ivf, "cpu.ivf"), (self.gpu, "gpu.ivf")):
            ivf("train", "base.fvecs", "-o", name, "--nlist", "6", "-q")
            ivf("add", name, "base.fvecs", "-q")
        self.assertEqual(digest(self.path / "gpu.ivf"), digest(self.path / "cpu.ivf"))
        self.ivf("remove", "cpu.ivf", "--ids", "300-310", "-q")
        for name, options in SEARCHES.items():
            with self.subTest(search=name):
                search = ("search", "cpu.ivf", "queries.fvecs", "-o", "tsv:-", "-q", *options)
                self.assertEqual(self.gpu(*search), self.ivf(*search))

    def test_records_say_what_ran(self):
        cpu, = self.records(self.ivf("bench", *SMALL))
        bench = ("bench", *SMALL, "--search-mode", "matrix,csr", "--profile")
        for resident in ((), ("--resident",)):
            with self.subTest(options=resident):
                for record in self.records(self.gpu(*bench, *resident)):
                    self.assertEqual((record["kernels"], record["device"], record["label"]), ("native", "cuda", "ivf_cuda"))
                    self.assertEqual((record["index_hash"], record["result_hash"]), (cpu["index_hash"], cpu["result_hash"]))
                    self.assertEqual((record["resident"], record["chosen_mode"]), (bool(resident), record["search_mode"]))
                    self.assertRegex(record["isa"], "^sm_")
                    self.assertIsNotNone(record["torch_version"])
                    self.assertEqual(record["rows_scanned"], cpu["rows_scanned"])
                    self.assertGreaterEqual(record["rows_refined"], 40 * 5)
                    self.assertGreaterEqual(record["host_syncs"], record["batches"])
                    profile = record["profile"]
                    self.assertEqual("prepare" in profile["device_phase_ms"], record["search_mode"] == "csr")
                    self.assertGreater(profile["scan_bytes"], 0)
                    self.assertGreaterEqual(profile["rows_per_query"], profile["survivors_per_query"])

    def test_all_gpus_find_what_the_cpu_finds(self):
        environment = {"IVF_MODULE_DIR": self.modules}
        self.ivf("convert", "clustered:n=620,d=9,seed=3", "base.fvecs", "--count", "600", "-q")
        self.ivf("convert", "clustered:n=620,d=9,seed=3", "queries.fvecs", "--start", "600", "-q")
        self.ivf("train", "base.fvecs", "-o", "all.ivf", "--nlist", "6", "-q", "--device", "cuda:all", env=environment)
        self.ivf("add", "all.ivf", "base.fvecs", "-q", "--device", "cuda:all", env=environment)
        for name, options in SEARCHES.items():
            with self.subTest(search=name):
                search = ("search", "all.ivf", "queries.fvecs", "-o", "tsv:-", "-q", *options)
                self.assertEqual(self.ivf(*search, "--device", "cuda:all", env=environment), self.ivf(*search))
        cpu, = self.records(self.ivf("bench", *SMALL))
        for resident in ((), ("--resident",)):
            with self.subTest(options=resident):
                record, = self.records(self.ivf("bench", *SMALL, *resident, "--device", "cuda:all", env=environment))
                self.assertEqual((record["kernels"], record["device"]), ("native", "cuda:all"))
                self.assertEqual((record["index_hash"], record["result_hash"]), (cpu["index_hash"], cpu["result_hash"]))
                self.assertEqual(record["rows_scanned"], cpu["rows_scanned"])

    def test_what_the_engine_does_not_do_is_done_by_libtorch_and_said_so(self):
        record, = self.records(self.gpu("bench", *SMALL, "--topk", "2500"))
        self.assertEqual((record["kernels"], record["isa"]), ("native", "torch-cpu" if self.emulated() else "torch-cuda"))
        code, _, stderr = self.run_ivf("bench", *SMALL, "--topk", "2500", "--resident", *GPU,
                                       env={"IVF_MODULE_DIR": self.modules})
        self.assertEqual(code, 2)
        self.assertIn(b"expected a search that the GPU engine does for queries that stay there, found k 2500", stderr)

    def emulated(self):
        return pathlib.Path(self.modules).name == "emulated"

    def test_types_are_for_libtorch(self):
        code, _, stderr = self.run_ivf("demo", "--nb", "1000", "--backend", "native", "--dtype", "bfloat16", *GPU,
                                       env={"IVF_MODULE_DIR": self.modules})
        self.assertEqual(code, 2)
        self.assertIn(b"expected float32 for the native cuda backend", stderr)
        # What bench rounds, kernels of ivf lose nothing of.
        rounded = ("bench", *SMALL, "--dtype", "bfloat16", "--backend", "native")
        of_cpu, = self.records(self.ivf(*rounded))
        of_gpu, = self.records(self.gpu(*rounded))
        self.assertEqual((of_gpu["dtype"], of_gpu["result_hash"]), ("bfloat16", of_cpu["result_hash"]))


if __name__ == "__main__":
    Gpu.modules = str(pathlib.Path(sys.argv.pop(2)).resolve())
    main()
