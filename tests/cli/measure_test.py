#!/usr/bin/env python3
"""Measuring: records and environments as their schemas describe them, comparison, and files that several append to.

    measure_test.py IVF SLOW_IVF        SLOW_IVF takes IVF_TEST_SLOWDOWN times as long for every timed call
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from schema import problems
from support import IvfTest, main

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "datasets" / "sample" / "mnist-sample.h5"
SMALL_INDEX = ["--nb", "3000", "--dim", "16", "--nlist", "20", "--topk", "5", "--train-n", "0", "-q"]
SMALL = [*SMALL_INDEX, "--nprobe", "4"]
RUNS = 5


class Measure(IvfTest):
    slow_program = None

    def schema(self, name):
        return json.loads((DOCS / name).read_text(encoding="utf-8"))

    def records(self, *arguments, **options):
        """The records that a command prints into a pipe, each held against the schema."""
        records = [json.loads(line) for line in self.ivf(*arguments, **options).splitlines()]
        for record in records:
            self.assertEqual(problems(record, self.schema("record.schema.json")), [])
        return records

    def faiss(self):
        return (pathlib.Path(self.program).parent / "ivf_faiss.so").exists()

    # Records

    def test_bench_writes_a_record(self):
        record, = self.records("bench", *SMALL, "--nq", "64", "--recall", "--profile", "--search-mode", "csr")
        self.assertEqual((record["library"], record["nq"], record["batches"], record["search_mode"]), ("ivf", 64, 4, "csr"))
        self.assertEqual(len(record["search_ms_runs"]), RUNS)
        self.assertEqual(record["search_ms"], sorted(record["search_ms_runs"])[RUNS // 2])
        self.assertAlmostEqual(record["qps"], 64_000 / record["search_ms"], delta=record["qps"] * 1e-3)
        self.assertGreater(record["recall_at_k"], 0.2)
        self.assertGreaterEqual(record["profile"]["rows_per_query"], record["profile"]["survivors_per_query"])

    def test_defaults_are_those_of_torch_ivf(self):
        nb = 65536
        record, = self.records("bench", "--nb", nb, "--repeat", "1", "--warmup", "0", "-q")
        expected = {"dim": 128, "nb": nb, "train_n": 2048, "nq": 128, "nlist": 1024, "nprobe": 16, "max_codes": 0, "topk": 10,
                    "metric": "l2", "device": "cpu", "search_mode": "matrix", "dtype": "float32", "seed": 1234}
        self.assertEqual({key: record[key] for key in expected}, expected)

    def test_the_schema_notices_what_is_wrong(self):
        record, = self.records("bench", *SMALL)
        schema = self.schema("record.schema.json")
        for key, value in (("library", "other"), ("nq", 0), ("search_ms", None), ("result_hash", "x"), ("recall_at_k", 1.5),
                           ("search_ms_runs", []), ("never_described", 1)):
            self.assertNotEqual(problems({**record, key: value}, schema), [], key)
        del record["qps"]
        self.assertNotEqual(problems(record, schema), [])

    def test_results_depend_on_the_data_alone(self):
        runs = [self.records("bench", *SMALL, "--search-mode", mode, "--threads", threads, "--nq", nq)[0]
                for mode, threads, nq in (("matrix", "1", "256"), ("csr", "2", "256"), ("auto", "2", "32"))]
        self.assertEqual(len({run["result_hash"] for run in runs}), 1)
        self.assertEqual(len({run["index_hash"] for run in runs}), 1)
        other, = self.records("bench", *SMALL, "--seed", "99")
        self.assertNotEqual(other["result_hash"], runs[0]["result_hash"])

    def test_an_index_that_exists(self):
        self.ivf("train", SAMPLE, "-o", "a.ivf", "--nlist", "16", "-q")
        self.ivf("add", "a.ivf", SAMPLE, "-q")
        info = json.loads(self.ivf("info", "a.ivf", "--json"))
        record, = self.records("bench", "--index", "a.ivf", "--queries", SAMPLE, "--nq", "50", "--nprobe", "16", "--recall", "-q")
        self.assertEqual((record["nb"], record["nlist"], record["index_hash"]), (info["nb"], 16, info["index_hash"]))
        self.assertEqual((record["train_ms"], record["recall_at_k"]), (None, 1.0))

    def test_types_are_rounded_to(self):
        full, half, short = (self.records("bench", *SMALL, "--dtype", name)[0] for name in ("float32", "float16", "bfloat16"))
        self.assertEqual(len({run["result_hash"] for run in (full, half, short)}), 3)

    # Sweeps

    def test_sweep_nq(self):
        records = self.records("sweep-nq", *SMALL, "--nq-list", "1,64", "--repeat", "2")
        self.assertEqual([(r["nq"], r["search_mode"]) for r in records], [(1, "matrix"), (1, "csr"), (64, "matrix"), (64, "csr")])
        self.assertEqual(len({r["index_hash"] for r in records}), 1)

    def test_sweep_maxcodes(self):
        records = self.records("sweep-maxcodes", *SMALL, "--nq", "100", "--max-codes-list", "0,50,100000", "--repeat", "2")
        recalls = [r["recall_at_k_vs_unlimited"] for r in records]
        self.assertEqual((recalls[0], recalls[2]), (1.0, 1.0))
        self.assertLess(recalls[1], 1)

    def test_sweep_nprobe(self):
        records = self.records("sweep-nprobe", *SMALL_INDEX, "--nq", "100", "--nprobe-list", "1,5,20", "--repeat", "2")
        recalls = [r["recall_at_k"] for r in records]
        self.assertEqual(recalls, sorted(recalls))
        self.assertEqual(recalls[-1], 1.0)

    # The reference

    def test_faiss(self):
        if not self.faiss():
            code, stdout, stderr = self.run_ivf("bench", *SMALL, "--library", "faiss")
            self.assertEqual((code, stdout), (2, b""))
            self.assertIn(b"faiss is not part of this build", stderr)
            return
        ours, theirs = self.records("bench", *SMALL, "--library", "ivf,faiss", "--same-centroids", "--recall")
        self.assertEqual((ours["library"], theirs["library"], theirs["centroids"]), ("ivf", "faiss_cpu", "ivf"))
        self.assertEqual(len(ours["speedup_pairs"]), RUNS)
        self.assertLessEqual(ours["speedup_low"], ours["speedup"])
        self.assertAlmostEqual(ours["recall_at_k"], theirs["recall_at_k"], delta=0.005)
        self.assertTrue(theirs["faiss_version"])

    def test_faiss_on_the_lists_of_an_index(self):
        if not self.faiss():
            self.skipTest("this build has no faiss")
        self.ivf("train", SAMPLE, "-o", "a.ivf", "--nlist", "16", "-q")
        self.ivf("add", "a.ivf", SAMPLE, "-q")
        record, = self.records("bench", "--index", "a.ivf", "--queries", SAMPLE, "--nprobe", "16", "--nq", "100", "--recall",
                               "--library", "faiss", "-q")
        self.assertGreater(record["recall_at_k"], 0.995)

    def test_a_missing_module_is_said(self):
        code, stdout, stderr = self.run_ivf("bench", *SMALL, "--library", "faiss", env={"IVF_MODULE_DIR": "/nonexistent"})
        self.assertEqual((code, stdout), (2, b""))
        self.assertIn(b"faiss is not part of this build", stderr)

    # Files of records

    def test_several_processes_append_to_one_file(self):
        processes = [self.start("bench", *SMALL, "--repeat", "1", "--label", f"p{i}", "--out", "runs.jsonl") for i in range(6)]
        for process in processes:
            self.assertEqual(process.wait(timeout=120), 0, process.stderr.read())
            process.stdout.close()
            process.stderr.close()
        lines = (self.path / "runs.jsonl").read_text(encoding="utf-8").splitlines()
        self.assertEqual(sorted(json.loads(line)["label"] for line in lines), [f"p{i}" for i in range(6)])

    def test_an_unfinished_line_is_ended_first(self):
        (self.path / "runs.jsonl").write_text('{"torn":', encoding="utf-8")
        self.ivf("bench", *SMALL, "--out", "runs.jsonl")
        lines = (self.path / "runs.jsonl").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[0], '{"torn":')
        self.assertEqual(json.loads(lines[1])["command"], "bench")

    def test_a_full_disk_takes_nothing_and_says_so(self):
        code, _, stderr = self.run_ivf("bench", *SMALL, "--out", "/dev/full")
        self.assertEqual(code, 1)
        self.assertIn(b"No space left on device", stderr)

    def test_an_interrupted_sweep_appends_nothing(self):
        process = self.start("sweep-nq", "--nb", "20000", "--nlist", "64", "--train-n", "0", "--repeat", "10000", "--out", "runs.jsonl")
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertIn(b"stopped by SIGINT", stderr)
        self.assertEqual(self.names(), [])

    # Comparison

    def measured(self, name, slowdown=None):
        env = {"IVF_TEST_SLOWDOWN": str(slowdown)} if slowdown else {}
        done = subprocess.run([self.slow_program, "bench", *SMALL, "--repeat", "15", "--threads", "1", "--recall", "--out", name],
                              cwd=self.path, env={**os.environ, **env}, capture_output=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_twice_the_same_is_no_change(self):
        # A machine that changes its speed between two runs, and hides that from the probe, may spoil one attempt.
        for _ in range(3):
            for name in ("base.jsonl", "new.jsonl"):
                (self.path / name).unlink(missing_ok=True)
                self.measured(name)
            code, stdout, stderr = self.run_ivf("compare", "base.jsonl", "new.jsonl", "--require-identical-results",
                                                "--max-regress", "20%")
            if code == 0:
                break
        self.assertEqual(code, 0, stdout + stderr)
        self.assertNotIn(b"slower by", stdout)

    def test_a_slow_down_is_a_regression(self):
        self.measured("base.jsonl")
        self.measured("new.jsonl", slowdown=5)
        code, stdout, stderr = self.run_ivf("compare", "base.jsonl", "new.jsonl")
        self.assertEqual(code, 4, stdout + stderr)
        self.assertIn(b"1 slower by more than 5 %", stdout)
        code, stdout, _ = self.run_ivf("compare", "base.jsonl", "new.jsonl", "--json")
        summary = json.loads(stdout)
        self.assertEqual((code, summary["regressions"], summary["pairs"][0]["times"][0]["verdict"]), (4, 1, "slower"))
        self.assertEqual(self.run_ivf("compare", "base.jsonl", "new.jsonl", "--max-regress", "5000%")[0], 0)

    # Results for ann-benchmarks

    def test_ann_benchmarks(self):
        (self.path / "mnist-784-euclidean.hdf5").symlink_to(SAMPLE)
        arguments = ["bench", "--dataset", "mnist-784-euclidean.hdf5", "--nlist", "16", "--nq", "1", "--repeat", "1",
                     "--ann-benchmarks", "results", "-q"]
        record, = self.records(*arguments, "--nprobe", "2", "--recall")
        file, = (self.path / "results").rglob("*.hdf5")
        self.assertEqual(file.relative_to(self.path / "results").parts[:3], ("mnist-784-euclidean", "10", "ivf"))
        result = json.loads(self.ivf("eval", f"{file}:neighbors", "--truth", SAMPLE, "-k", "10", "--json"))
        self.assertAlmostEqual(result["recall_at_k"]["10"], record["recall_at_k"], delta=1e-6)
        code, _, stderr = self.run_ivf(*arguments, "--nprobe", "2")
        self.assertEqual(code, 2)
        self.assertIn(b"--force replaces it", stderr)

    # The environment

    def test_environment(self):
        environment = json.loads(self.ivf("dump-env"))
        self.assertEqual(problems(environment, self.schema("environment.schema.json")), [])
        self.assertIn(environment["isa"]["used"], environment["isa"]["levels"])
        self.assertEqual(environment["faiss"]["available"], self.faiss())

    def test_environment_without_modules_and_with_a_level_that_is_refused(self):
        environment = json.loads(self.ivf("dump-env", env={"IVF_MODULE_DIR": "/nonexistent", "IVF_ISA": "none"}))
        self.assertEqual(problems(environment, self.schema("environment.schema.json")), [])
        self.assertEqual((environment["isa"]["used"], environment["isa"]["forced"]), (None, "none"))
        self.assertFalse(environment["faiss"]["available"])

    def test_environment_in_a_file(self):
        self.ivf("dump-env", "--out", "env.json", "-q")
        self.assertEqual(json.loads((self.path / "env.json").read_text())["environment_version"], 1)
        self.assertEqual(self.run_ivf("dump-env", "--out", "env.json")[0], 2)


if __name__ == "__main__":
    Measure.slow_program = str(pathlib.Path(sys.argv.pop(2)).resolve())
    main()
