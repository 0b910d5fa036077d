"""What the tests of the scripts share: the scripts, the sample records, and an empty directory for each test."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLOT = ROOT / "scripts" / "plot.py"
RECORDS = ROOT / "tests" / "records"
ENVIRONMENT = RECORDS / "environment.json"


def sample(name):
    """The sample records of a name, as objects."""
    return [json.loads(line) for line in (RECORDS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ivf-scripts-")
        self.addCleanup(self.directory.cleanup)
        self.path = pathlib.Path(self.directory.name)

    def run_plot(self, *arguments, stdin=""):
        """Exit code, stdout and stderr."""
        done = subprocess.run([sys.executable, PLOT, *map(str, arguments)], cwd=self.path, input=stdin, capture_output=True,
                              text=True, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    def plot(self, *arguments, **options):
        """stdout of a run that must succeed."""
        code, stdout, stderr = self.run_plot(*arguments, **options)
        self.assertEqual((code, stderr), (0, ""))
        return stdout

    def refused(self, *arguments, **options):
        """The one line that a run with wrong input or request says."""
        code, stdout, stderr = self.run_plot(*arguments, **options)
        self.assertEqual((code, stdout), (2, ""), stderr)
        self.assertEqual(stderr.count("\n"), 1, stderr)
        self.assertTrue(stderr.startswith("plot: "), stderr)
        return stderr

    def write(self, name, records):
        """A file of records in the test's directory."""
        path = self.path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path
