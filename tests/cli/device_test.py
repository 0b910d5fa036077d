#!/usr/bin/env python3
"""Where a command computes: the same results everywhere, and LibTorch loaded only where it is asked for.

    device_test.py IVF [PLUGIN]        PLUGIN: the build has a LibTorch module, and this library brings it the device dml
"""
import json
import pathlib
import re
import sys

from schema import problems
from support import IvfTest, digest, main

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
NLIST = 24
SEARCHES = {
    "probed": ("-k", "12", "--nprobe", "5"),
    "by query": ("-k", "12", "--nprobe", "5", "--search-mode", "matrix"),
    "by list": ("-k", "12", "--nprobe", "5", "--search-mode", "csr"),
    "all lists": ("-k", "12", "--nprobe", NLIST),
    "capped": ("-k", "12", "--nprobe", "5", "--max-codes", "77"),
    "exact": ("-k", "12", "--exact"),
    "filtered": ("-k", "12", "--nprobe", "5", "--filter-not", "0-700"),
}
RADIUS = {"l2": "20", "cosine": "0.4"}
SMALL_SWEEP = ["--nb", "3000", "--dim", "16", "--nlist", "20", "--topk", "5", "--train-n", "0", "--repeat", "2", "-q"]
SMALL = [*SMALL_SWEEP, "--nq", "32"]


class Device(IvfTest):
    plugin = None

    def schema(self, name):
        return json.loads((DOCS / name).read_text(encoding="utf-8"))

    def require_module(self):
        if self.plugin is None:
            self.skipTest("this build has no LibTorch module")

    def places(self):
        """Options for every place that computes with LibTorch: the CPU, the test's own device, and what else is there."""
        found = {"cpu": ("--backend", "torch"), "dml": ("--device", "dml", "--torch-plugin", self.plugin)}
        for device in json.loads(self.ivf("devices", "--json"))["devices"]:
            if device["name"] != "cpu":
                found[device["name"]] = ("--device", device["name"], "--backend", "torch")
        return found

    def data(self):
        self.ivf("convert", "clustered:n=3040,d=21,seed=3", "base.fvecs", "--count", "3000", "-q")
        self.ivf("convert", "clustered:n=3040,d=21,seed=3", "queries.fvecs", "--start", "3000", "-q")

    def build(self, name, metric, *options):
        self.ivf("train", "base.fvecs", "-o", name, "--nlist", NLIST, "--metric", metric, "--force", "-q", *options)
        self.ivf("add", name, "base.fvecs", "-q", *options)

    def results(self, index, *options, env=None):
        """Ids and values of a search; every value that is another float32 is another text."""
        return self.ivf("search", index, "queries.fvecs", "-o", "tsv:-", "-q", *options, env=env).decode().splitlines()

    # The same results

    def test_results_do_not_depend_on_the_place(self):
        self.require_module()
        self.data()
        places = self.places()
        for metric, searches in (("l2", SEARCHES), ("cosine", {"probed": SEARCHES["probed"]})):
            self.build("native.ivf", metric)
            searches = {**searches, "radius": ("--nprobe", "5", "--radius", RADIUS[metric])}
            expected = {name: self.results("native.ivf", *options) for name, options in searches.items()}
            for place, options in places.items():
                with self.subTest(metric=metric, place=place, what="index"):
                    self.build("placed.ivf", metric, *options)
                    self.assertEqual(digest(self.path / "placed.ivf"), digest(self.path / "native.ivf"))
                for name, search in searches.items():
                    with self.subTest(metric=metric, place=place, what=name):
                        self.assertEqual(self.results("native.ivf", *search, *options), expected[name])

    def test_types_change_no_result(self):
        self.require_module()
        self.data()
        self.build("a.ivf", "l2")
        expected = self.results("a.ivf", *SEARCHES["probed"])
        for place, options in self.places().items():
            for dtype in ("float16", "bfloat16"):
                with self.subTest(place=place, dtype=dtype):
                    self.assertEqual(self.results("a.ivf", *SEARCHES["probed"], *options, "--dtype", dtype), expected)

    def test_exact_neighbours_and_a_flat_index(self):
        self.require_module()
        self.data()
        self.ivf("train", "base.fvecs", "-o", "flat.ivf", "--flat", "-q")
        self.ivf("add", "flat.ivf", "base.fvecs", "-q")
        truth = ("truth", "--base", "base.fvecs", "--queries", "queries.fvecs", "-k", "7", "--block", "1000", "-q")
        self.ivf(*truth, "-o", "native.ivecs")
        for place, options in self.places().items():
            with self.subTest(place=place):
                self.ivf(*truth, "-o", "placed.ivecs", "--force", *options)
                self.assertEqual(digest(self.path / "placed.ivecs"), digest(self.path / "native.ivecs"))
                self.ivf("search", "flat.ivf", "queries.fvecs", "-k", "7", "--truth", "native.ivecs", "--min-recall", "1", "-q",
                         *options)

    def test_the_demo_verifies_itself(self):
        self.require_module()
        for place, options in self.places().items():
            with self.subTest(place=place):
                summary = json.loads(self.ivf("demo", "--nb", "2000", "--nq", "20", "--dim", "8", "--nlist", "16", "--verify",
                                              "--json", *options))
                self.assertEqual((summary["backend"], summary["verified"]), ("torch", True))
                self.assertEqual(summary["device"].partition(":")[0], place.partition(":")[0])

    # What is there

    def test_a_device_that_is_missing(self):
        self.require_module()
        self.data()
        self.build("a.ivf", "l2")
        for device in ("cuda:99", "rocm:99", "dml", "dml:99"):
            with self.subTest(device=device):
                code, stdout, stderr = self.run_ivf("search", "a.ivf", "queries.fvecs", "--device", device)
                self.assertEqual((code, stdout), (2, b""))
                self.assertRegex(stderr.decode(),
                                 rf"^ivf: error: expected the device {device}, found cpu.* \(LibTorch [\d.]+, .*\); .+\n$")

    def test_a_plugin_that_is_none(self):
        self.require_module()
        self.data()
        self.build("a.ivf", "l2")
        (self.path / "x.so").write_bytes(b"no library")
        for plugin in ("missing.so", "x.so"):
            with self.subTest(plugin=plugin):
                code, stdout, stderr = self.run_ivf("search", "a.ivf", "queries.fvecs", "--device", "dml",
                                                    "--torch-plugin", plugin)
                self.assertEqual((code, stdout), (1, b""))
                self.assertIn(plugin.encode(), stderr)
        listing = json.loads(self.ivf("devices", "--json", "--torch-plugin", "missing.so"))
        self.assertIn("missing.so", listing["unavailable"]["dml"])

    def test_devices(self):
        self.require_module()
        listing = json.loads(self.ivf("devices", "--json", env={"IVF_TORCH_PLUGIN": self.plugin}))
        schema = self.schema("environment.schema.json")["properties"]
        self.assertEqual(problems(listing["devices"], schema["devices"]), [])
        self.assertEqual(problems(listing["libtorch"], schema["libtorch"]), [])
        self.assertEqual(problems(listing["unavailable"], schema["unavailable_devices"]), [])
        names = [(device["name"], device["backend"]) for device in listing["devices"]]
        self.assertEqual(names[:2], [("cpu", "native"), ("cpu", "torch")])
        self.assertIn(("dml:0", "torch"), names)
        self.assertNotIn("dml", listing["unavailable"])
        self.assertIn("dml:0", self.ivf("devices", "--torch-plugin", self.plugin).decode())

    def test_a_device_without_float64(self):
        self.require_module()
        self.data()
        self.build("a.ivf", "l2")
        env = {"IVF_TORCH_PLUGIN": self.plugin, "IVF_TEST_DEVICE_FLOAT64": "0"}
        listing = json.loads(self.ivf("devices", "--json", env=env))
        self.assertEqual([device["refines_on"] for device in listing["devices"] if device["name"] == "dml:1"], ["host"])
        expected = self.results("a.ivf", *SEARCHES["probed"])
        self.assertEqual(self.results("a.ivf", *SEARCHES["probed"], "--device", "dml:1", env=env), expected)

    def test_a_device_that_is_too_small(self):
        self.require_module()
        self.data()
        self.build("a.ivf", "l2")
        code, stdout, stderr = self.run_ivf("search", "a.ivf", "queries.fvecs", "--device", "dml", "--torch-plugin", self.plugin,
                                            env={"IVF_TEST_DEVICE_MEMORY": "100000"})
        self.assertEqual((code, stdout), (1, b""))
        self.assertRegex(stderr.decode(), r"^ivf: error: dml:0: .*memory.*\n$")

    def test_environment(self):
        self.require_module()
        environment = json.loads(self.ivf("dump-env", "--torch-plugin", self.plugin))
        self.assertEqual(problems(environment, self.schema("environment.schema.json")), [])
        self.assertTrue(environment["libtorch"]["available"])
        self.assertEqual(environment["torch_version"], environment["libtorch"]["version"])
        self.assertIn("dml:0", [device["name"] for device in environment["devices"]])

    # Records

    def records(self, *arguments):
        schema = self.schema("record.schema.json")
        records = [json.loads(line) for line in self.ivf(*arguments).splitlines()]
        for record in records:
            self.assertEqual(problems(record, schema), [])
        return records

    def test_records_say_where_they_were_taken(self):
        self.require_module()
        native, = self.records("bench", *SMALL)
        self.assertEqual((native["kernels"], native["label"], native["torch_version"]), ("native", "ivf_cpu", None))
        for place, options in self.places().items():
            with self.subTest(place=place):
                records = self.records("bench", *SMALL, "--search-mode", "matrix,csr,auto", "--profile", *options)
                device = options[1] if options[0] == "--device" else "cpu"
                for record in records:
                    self.assertEqual((record["kernels"], record["device"]), ("torch", device))
                    self.assertEqual(record["label"], f"ivf_torch_{device}")
                    self.assertEqual((record["index_hash"], record["result_hash"]), (native["index_hash"], native["result_hash"]))
                    self.assertIsNotNone(record["torch_version"])
                    self.assertGreater(record["auto_threshold"], 0)
                    self.assertEqual(record["host_syncs"] > 0, device != "cpu")
                self.assertEqual([record["search_mode"] for record in records], ["matrix", "csr", "auto"])

    def test_sweeps(self):
        self.require_module()
        options = self.places()["dml"]
        for command, *values in (("sweep-nq", "--nq-list", "1,40"), ("sweep-maxcodes", "--max-codes-list", "0,50", "--nq", "40"),
                                 ("sweep-nprobe", "--nprobe-list", "1,20", "--nq", "40")):
            with self.subTest(command=command):
                records = self.records(command, *SMALL_SWEEP, *values, "--search-mode", "matrix,csr,auto", *options)
                self.assertEqual([(r["command"], r["kernels"], r["device"]) for r in records], [(command, "torch", "dml")] * 6)

    def test_vectors_are_rounded_and_kept_so(self):
        self.require_module()
        full, rounded = (self.records("bench", *SMALL, "--backend", "torch", "--dtype", name)[0]
                         for name in ("float32", "bfloat16"))
        native, = self.records("bench", *SMALL, "--dtype", "bfloat16")
        self.assertNotEqual(full["result_hash"], rounded["result_hash"])
        self.assertEqual((rounded["dtype"], rounded["result_hash"]), ("bfloat16", native["result_hash"]))

    def test_compare_tells_kernels_apart(self):
        self.require_module()
        self.ivf("bench", *SMALL, "--out", "native.jsonl")
        self.ivf("bench", *SMALL, "--backend", "torch", "--out", "torch.jsonl")
        code, _, stderr = self.run_ivf("compare", "native.jsonl", "torch.jsonl")
        self.assertEqual(code, 2)
        self.assertIn(b'kernels ("native" and "torch")', stderr)

    # What is loaded

    def loaded(self, *arguments, **options):
        """The libraries that a run maps, as the dynamic loader tells."""
        self.ivf(*arguments, env={"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(self.path / "loader")}, **options)
        found = set()
        for log in self.path.glob("loader.*"):
            found |= set(re.findall(r"file=(\S+)", log.read_text(errors="replace")))
            log.unlink()
        self.assertTrue(any("libc.so" in name for name in found), found)
        return found

    def assert_no_modules(self, found):
        modules = re.compile(r"ivf_\w+\.so|torch|c10|caffe|cuda|hip|mkl|openblas|protobuf")
        self.assertEqual([name for name in found if modules.search(pathlib.Path(name).name)], [])

    def test_libtorch_is_loaded_when_it_is_used(self):
        self.data()
        self.build("a.ivf", "l2")
        search = ("search", "a.ivf", "queries.fvecs")
        for arguments in (("--help",), ("--version",), ("search", "--help"), ("info", "a.ivf"), ("verify", "a.ivf"), search,
                          (*search, "--device", "cpu", "--backend", "native"), ("bench", *SMALL), ("demo", "--nb", "1000"),
                          ("train", "base.fvecs", "-o", "b.ivf", "--nlist", "4"), ("add", "b.ivf", "base.fvecs"),
                          ("truth", "--base", "base.fvecs", "--queries", "queries.fvecs", "-o", "t.ivecs")):
            with self.subTest(arguments=arguments):
                self.assert_no_modules(self.loaded(*arguments))
        if self.plugin is not None:
            for arguments in ((*search, "--backend", "torch"), ("devices",)):
                with self.subTest(arguments=arguments):
                    found = " ".join(self.loaded(*arguments))
                    self.assertIn("ivf_torch.so", found)
                    self.assertIn("libtorch", found)


if __name__ == "__main__":
    if len(sys.argv) > 2 and not sys.argv[2].startswith("-"):
        Device.plugin = str(pathlib.Path(sys.argv.pop(2)).resolve())
    main()
