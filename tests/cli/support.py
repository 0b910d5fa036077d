"""What the tests of the command line share: the program under test, data, and a directory of their own.

A test is a program that is called with the path of ivf, and with options of its own behind it.
"""
import hashlib
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import unittest


# Under a sanitizer everything takes ten times as long. What the program does is the same: fewer cases show that it does it
# without a report, and the release build runs them all.
SANITIZED = os.environ.get("IVF_TEST_SANITIZED") == "1"


def vectors(rows):
    """Rows of numbers as the bytes of an fvecs file."""
    return b"".join(struct.pack(f"<i{len(row)}f", len(row), *row) for row in rows)


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class IvfTest(unittest.TestCase):
    """Each test runs in an empty directory."""
    program = None

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="ivf-cli-")
        self.addCleanup(self.directory.cleanup)
        self.path = pathlib.Path(self.directory.name)

    def start(self, *arguments, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([self.program, *map(str, arguments)], cwd=self.path, env={**os.environ, **(env or {})},
                                preexec_fn=self.default_signals, **options)

    @staticmethod
    def default_signals():
        # A test may itself have been started with signals ignored; ivf would rightly leave them so.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)

    def run_ivf(self, *arguments, env=None, **options):
        """Exit code, stdout and stderr."""
        process = self.start(*arguments, env=env, **options)
        stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout, stderr

    def ivf(self, *arguments, env=None, **options):
        """stdout of a run that must succeed."""
        code, stdout, stderr = self.run_ivf(*arguments, env=env, **options)
        self.assertEqual(code, 0, f"ivf {' '.join(map(str, arguments))}: {stderr.decode(errors='replace')}")
        return stdout

    def names(self):
        return sorted(entry.name for entry in self.path.iterdir())


def main():
    IvfTest.program = str(pathlib.Path(sys.argv[1]).resolve())
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
