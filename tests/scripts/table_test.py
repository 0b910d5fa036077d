#!/usr/bin/env python3
"""Reading records and making tables of them; this needs no matplotlib."""
import copy
import json
import sys
import unittest

from support import RECORDS, ROOT, ScriptTest, sample

sys.path.insert(0, str(ROOT / "scripts"))
from plotting import records  # noqa: E402  pylint: disable=wrong-import-position


class Table(ScriptTest):
    def changed(self, **changes):
        record = {**sample("sweep-nq")[0], **changes}
        return {key: value for key, value in record.items() if value is not ...}

    # Tables

    def test_a_sweep(self):
        text = self.plot("table", RECORDS / "sweep-nq.jsonl", "--what", "search")
        lines = text.splitlines()
        self.assertEqual(lines[0], "### QPS by nq: normal 4,096 × 32, l2, nlist 16, nprobe 4, k 10")
        self.assertEqual(lines[2], "| nq | library | QPS | ms a batch (min – max) | times faiss_cpu (95 %) |")
        self.assertEqual(lines[4], "| 1 | ivf auto, amx | 20,000 | 0.05 (0.0485 – 0.052) | 1.60 (1.52 – 1.70) |")
        self.assertEqual(len(lines), 13)

    def test_recall_and_limits_have_columns_where_they_are_measured(self):
        text = self.plot("table", RECORDS / "sweep-maxcodes.jsonl", RECORDS / "sweep-nprobe.jsonl", "--what", "search")
        self.assertIn("| max_codes | library | QPS | ms a batch (min – max) | recall@10 | recall vs no limit |", text)
        self.assertIn("| nprobe | library | QPS | ms a batch (min – max) | recall@10 | times faiss_cpu (95 %) |", text)
        self.assertIn("| no limit | ivf auto, amx |", text)

    def test_an_index_is_built_once_however_many_records_tell_of_it(self):
        text = self.plot("table", RECORDS / "sweep-nq.jsonl", "--what", "build")
        rows = [line for line in text.splitlines() if line.startswith("| normal")]
        self.assertEqual([row.split("|")[4].strip() for row in rows], ["ivf, amx", "faiss 1.7.3"])

    def test_standard_input_is_as_good_as_a_file(self):
        text = (RECORDS / "sweep-nq.jsonl").read_text(encoding="utf-8")
        self.assertEqual(self.plot("table", stdin=text), self.plot("table", RECORDS / "sweep-nq.jsonl"))

    def test_equal_measurements_count_as_one_with_all_their_runs(self):
        first, second = self.changed(search_ms_runs=[1, 2, 3]), self.changed(search_ms_runs=[4, 5, 6, 7])
        lines, = records.lines([first, second], "nq")
        point, = lines.points
        self.assertEqual((point.search_ms, point.qps, point.qps_low, point.qps_high), (4, 250, 1000 / 7, 1000))

    def test_lines_are_told_apart_by_what_differs(self):
        found = records.lines([self.changed(), self.changed(isa="avx2"), self.changed(threads=8), self.changed(label="after")], "nq")
        self.assertEqual([line.name for line in found],
                         ["ivf auto, amx, 2 threads", "ivf auto, amx, 8 threads", "ivf auto, amx, 2 threads, after",
                          "ivf auto, avx2, 2 threads"])

    def test_settings_are_not_mixed(self):
        groups = records.group([self.changed(nprobe=6), self.changed(nprobe=14), self.changed(nprobe=6, nq=8)], ("nq",))
        self.assertEqual([len(group.records) for group in groups], [2, 1])
        self.assertEqual([group.slug for group in groups], ["normal-nprobe6", "normal-nprobe14"])

    def test_the_pareto_front(self):
        points = [(0.5, 100), (0.6, 90), (0.6, 95), (0.7, 60), (0.8, 70), (0.9, 10), (0.4, 100)]
        self.assertEqual(records.pareto(points), [(0.5, 100), (0.6, 95), (0.8, 70), (0.9, 10)])

    def test_what_is_read_is_in_every_record(self):
        schema = json.loads((ROOT / "docs" / "record.schema.json").read_text(encoding="utf-8"))
        self.assertEqual(set(records.KEYS) - set(schema["required"]), set())

    # Files

    def test_a_file_is_replaced_on_request_only(self):
        arguments = ("table", RECORDS / "sweep-nq.jsonl", "-o", "t.md")
        self.plot(*arguments)
        before = (self.path / "t.md").read_text(encoding="utf-8")
        (self.path / "t.md").write_text("mine", encoding="utf-8")
        self.assertEqual(self.refused(*arguments), "plot: t.md exists; --force replaces it\n")
        self.assertEqual((self.path / "t.md").read_text(encoding="utf-8"), "mine")
        self.plot(*arguments, "--force")
        self.assertEqual((self.path / "t.md").read_text(encoding="utf-8"), before)
        self.assertEqual([entry.name for entry in self.path.iterdir()], ["t.md"])

    # What is refused

    def test_malformed_input(self):
        good = json.dumps(self.changed())
        for text, said in ((good + "\n" + good[:100] + "\n", "standard input:2: expected JSON"),
                           ("[1]\n", "standard input:1: expected a JSON object, one record a line; found [1]"),
                           ("", "-: no records"), ("\n\n", "-: no records"), ("[" * 100_000, "nested too deeply"),
                           ("{}", "expected record_version 1, found null")):
            self.assertIn(said, self.refused("table", stdin=text))

    def test_wrong_records(self):
        for key, value, said in (("nq", ..., "the record has no nq"), ("nq", "1", 'nq: expected a number, found "1"'),
                                 ("nq", 0, "nq: expected at least 1, found 0"), ("nq", True, "nq: expected a number, found true"),
                                 ("recall_at_k", -0.5, "recall_at_k: expected a number of at least 0, found -0.5"),
                                 ("recall_at_k", float("nan"), "recall_at_k: expected a number of at least 0, found NaN"),
                                 ("isa", 3, "isa: expected a text, found 3"), ("search_mode", None, "found null"),
                                 ("search_ms_runs", [], "expected times above 0, found []"),
                                 ("search_ms_runs", [0.0], "expected times above 0"),
                                 ("train_ms_runs", ["1"], "expected numbers of at least 0"),
                                 ("record_version", 2, "expected record_version 1, found 2")):
            text = json.dumps(self.changed()) + "\n" + json.dumps(self.changed(**{key: value}))
            message = self.refused("table", stdin=text)
            self.assertIn("standard input:2: ", message)
            self.assertIn(said, message)

    def test_missing_files_and_bytes_that_are_no_text(self):
        self.assertEqual(self.refused("table", "none.jsonl"), "plot: none.jsonl: No such file or directory\n")
        (self.path / "bytes").write_bytes(b"{\xff}")
        self.assertEqual(self.refused("table", "bytes"), "plot: bytes: expected UTF-8, found byte 0xff at 1\n")

    def test_nothing_to_show(self):
        bare = copy.deepcopy(self.changed(train_ms_runs=[]))
        self.assertIn("no record holds times of training", self.refused("table", "--what", "build", stdin=json.dumps(bare)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
