#!/usr/bin/env python3
"""scripts/reproduce.sh on small data: reproduce_test.py IVF"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

from support import PLOT, ROOT, ScriptTest

SCRIPT = ROOT / "scripts" / "reproduce.sh"


class Reproduce(ScriptTest):
    program = None
    draws = None

    def start(self, *arguments, **environment):
        return subprocess.Popen([SCRIPT, "--quick", *map(str, arguments)], cwd=self.path, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                                env={**os.environ, "IVF": self.program, "IVF_LIBRARIES": "ivf", **environment})

    def reproduce(self, *arguments, **environment):
        """Exit code and stderr."""
        process = self.start(*arguments, **environment)
        stderr = process.communicate(timeout=240)[1]
        return process.returncode, stderr

    def test_a_step_then_another_then_nothing(self):
        out = self.path / "results"
        code, stderr = self.reproduce("--out", out, "--only", "kmeans-mnist")
        self.assertEqual(code, 0, stderr)
        self.assertIn("reproduce: kmeans-mnist: k-means of MNIST", stderr)
        self.assertRegex(stderr, r"about \d+ s\)")
        names = {"environment.json", "kmeans-mnist.jsonl", "program.txt", "tables.md", ".lock"}
        names |= {"report.html"} if self.draws else set()
        self.assertEqual({entry.name for entry in out.iterdir()}, names)
        self.assertEqual(json.loads((out / "environment.json").read_text(encoding="utf-8"))["environment_version"], 1)
        before = (out / "kmeans-mnist.jsonl").read_bytes()

        code, stderr = self.reproduce("--out", out, "--only", "kmeans-mnist", "--only=seed-maxcodes")
        self.assertEqual(code, 0, stderr)
        self.assertIn("kmeans-mnist: there already", stderr)
        self.assertEqual((out / "kmeans-mnist.jsonl").read_bytes(), before)
        tables = (out / "tables.md").read_text(encoding="utf-8")
        self.assertIn("### QPS and recall by max_codes: normal 16,384 × 128", tables)
        self.assertIn("### Training and adding", tables)
        pictures = {"max-codes-light.svg", "max-codes-dark.svg", "max-codes-light.png", "max-codes-dark.png"}
        self.assertEqual({entry.name for entry in (out / "pictures").iterdir()} if self.draws else pictures, pictures)

    def test_a_step_that_was_stopped_leaves_no_records_and_is_done_again(self):
        out = self.path / "results"
        process = self.start("--out", out, "--only", "seed-maxcodes")
        while "$ ivf sweep-maxcodes" not in process.stderr.readline():
            self.assertIsNone(process.poll())
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        process.stderr.read()
        self.assertNotEqual(process.wait(timeout=60), 0)
        process.stdout.close()
        process.stderr.close()
        self.assertEqual({entry.name for entry in out.iterdir()}, {"environment.json", "program.txt", ".lock"})
        code, stderr = self.reproduce("--out", out, "--only", "seed-maxcodes")
        self.assertEqual(code, 0, stderr)
        self.assertTrue((out / "seed-maxcodes.jsonl").exists())

    def test_folders_of_others_are_left_alone(self):
        out = self.path / "results"
        out.mkdir()
        (out / "mine.txt").write_text("mine", encoding="utf-8")
        code, stderr = self.reproduce("--out", out)
        self.assertEqual((code, stderr), (2, f"reproduce: {out} holds other things; choose another folder with --out\n"))
        (out / "program.txt").write_text("ivf 0.0.1\n", encoding="utf-8")
        code, stderr = self.reproduce("--out", out)
        self.assertEqual(code, 2)
        self.assertRegex(stderr, r"was measured with ivf 0\.0\.1, and this is ivf .*, quick; choose another folder")
        self.assertEqual({entry.name for entry in out.iterdir()}, {"mine.txt", "program.txt"})

    def test_wrong_requests(self):
        for arguments, said in ((["--only", "none"], "there is no step none"), (["--out"], "--out needs a value"),
                                (["--fast"], "unknown argument: --fast"), (["--out", ""], "--out needs a folder")):
            code, stderr = self.reproduce(*arguments)
            self.assertEqual(code, 2, stderr)
            self.assertIn(said, stderr)
        code, stderr = self.reproduce("--out", self.path / "r", IVF="/nonexistent")
        self.assertEqual(code, 1)
        self.assertIn("IVF=/nonexistent does not run", stderr)
        self.assertFalse((self.path / "r").exists())

    def test_list_names_every_step(self):
        done = subprocess.run([SCRIPT, "--list"], capture_output=True, text=True, check=True)
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertIn("seed-nq", names)
        functions = re.findall(r"^measure_(\w+)\(\)", SCRIPT.read_text(encoding="utf-8"), re.M)
        self.assertEqual(sorted(names), sorted(name.replace("_", "-") for name in functions))


if __name__ == "__main__":
    Reproduce.program = str(pathlib.Path(sys.argv[1]).resolve())
    Reproduce.draws = subprocess.run([sys.executable, PLOT, "check"], capture_output=True, check=False).returncode == 0
    unittest.main(argv=sys.argv[:1], verbosity=2)
