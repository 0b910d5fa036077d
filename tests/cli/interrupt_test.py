#!/usr/bin/env python3
"""Signals stop a command at once, leave no partial output and say so; the shell sees the signal itself."""
import fcntl
import resource
import signal
import struct
import subprocess
import termios
import time

from support import SANITIZED, IvfTest, digest, main, vectors

STOPPED = b"ivf: error: stopped by %s; no file was written or changed: the same command can be run again\n"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROWS = vectors([[float(i + j) for j in range(8)] for i in range(5000)])


class Interrupt(IvfTest):
    def setUp(self):
        super().setUp()
        self.ivf("convert", "gaussian:n=2000,d=8", "base.fvecs", "-q")
        self.ivf("train", "base.fvecs", "-o", "a.ivf", "--nlist", "16", "-q")
        self.ivf("add", "a.ivf", "base.fvecs", "-q")
        self.before = digest(self.path / "a.ivf")

    def stop_while_reading(self, number, *arguments, data=ROWS):
        """Feeds some rows through a pipe that stays open, then sends a signal. Returns the process and its stderr."""
        process = self.start(*arguments, stdin=subprocess.PIPE)
        process.stdin.write(data)
        process.stdin.flush()
        # All rows are taken once the pipe is empty: from then on the command waits for more.
        self.wait_until_taken(process)
        time.sleep(0.1)
        sent = time.monotonic()
        process.send_signal(number)
        process.wait(timeout=60)
        self.assertLess(time.monotonic() - sent, 5)
        stderr = process.stderr.read()
        process.stdin.close()
        process.stdout.close()
        process.stderr.close()
        return process.returncode, stderr

    def wait_until_taken(self, process):
        for _ in range(600):
            waiting = struct.unpack("i", fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, b"\0\0\0\0"))[0]
            if waiting == 0:
                return
            time.sleep(0.05)
        self.fail("the command does not read its input")

    def test_add_keeps_the_old_state(self):
        for number in SIGNALS:
            with self.subTest(signal=number.name):
                code, stderr = self.stop_while_reading(number, "add", "a.ivf", "-")
                self.assertEqual(code, -number)
                self.assertEqual(stderr, STOPPED % number.name.encode())
                self.assertEqual(digest(self.path / "a.ivf"), self.before)
                self.assertIn(b"sound (2,000 rows", self.ivf("verify", "a.ivf"))

    def test_a_removal_keeps_the_old_state(self):
        code, stderr = self.stop_while_reading(signal.SIGTERM, "remove", "a.ivf", "--ids", "-", data=b"0-99\n")
        self.assertEqual(code, -signal.SIGTERM)
        self.assertEqual(stderr, STOPPED % b"SIGTERM")
        self.assertEqual(digest(self.path / "a.ivf"), self.before)

    def test_rewriting_leaves_what_was_there(self):
        rows = 20_000 if SANITIZED else 200_000
        self.ivf("train", "base.fvecs", "-o", "large.ivf", "--nlist", "16", "--compress", "-q")
        self.ivf("add", "large.ivf", f"gaussian:n={rows},d=8", "-q")
        for number, arguments in ((signal.SIGINT, ("compact", "large.ivf", "--sort")),
                                  (signal.SIGTERM, ("merge", "whole.ivf", "large.ivf", "a.ivf", "--ids", "shift")),
                                  (signal.SIGHUP, ("split", "large.ivf", "--shards", "2", "--out", "shard"))):
            with self.subTest(arguments=arguments):
                self.stop_while_writing(number, "large.ivf", *arguments)

    def stop_while_writing(self, number, index, *arguments):
        """Sends a signal once there is a temporary file; the index stays. A signal that comes too late is tried again."""
        names = self.names()
        for _ in range(5):
            before = digest(self.path / index)
            process = self.start(*arguments, "--threads", "1")
            while process.poll() is None and self.names() == names:
                time.sleep(0.001)
            self.assertIsNone(process.poll(), "the command is done, and was never seen to write")
            process.send_signal(number)
            _, stderr = process.communicate(timeout=60)
            if process.returncode != 0:
                self.assertEqual(process.returncode, -number, stderr)
                self.assertEqual(stderr, STOPPED % number.name.encode())
                self.assertEqual(self.names(), names)
                self.assertEqual(digest(self.path / index), before)
                return
            for name in set(self.names()) - set(names):
                (self.path / name).unlink()
        self.fail("no signal came in time")

    def test_outputs_vanish(self):
        names = self.names()
        for signals, arguments in ((SIGNALS, ("convert", "-", "out.npy")), (SIGNALS, ("train", "-", "-o", "out.ivf", "--nlist", "8")),
                                   (SIGNALS, ("truth", "--base", "-", "--queries", "base.fvecs", "-o", "out.hdf5", "--with-vectors")),
                                   (SIGNALS, ("search", "a.ivf", "-", "-o", "out.ivecs", "--out-distances", "out.fvecs")),
                                   (SIGNALS[1:2], ("convert", "-", "out.h5")), (SIGNALS[1:2], ("convert", "-", "out.fbin")),
                                   (SIGNALS[1:2], ("search", "a.ivf", "-", "-o", "out.jsonl"))):
            for number in signals:
                with self.subTest(arguments=arguments, signal=number.name):
                    code, stderr = self.stop_while_reading(number, *arguments)
                    self.assertEqual(code, -number)
                    self.assertEqual(stderr, STOPPED % number.name.encode())
                    self.assertEqual(self.names(), names)

    def test_a_replaced_file_stays(self):
        self.stop_while_reading(signal.SIGINT, "convert", "-", "base.fvecs", "--force")
        self.assertEqual((self.path / "base.fvecs").stat().st_size, 2000 * 36)

    def test_work_in_the_processor_stops(self):
        # So much that no machine is done within a second, and a sanitizer with a piece of it within thirty.
        rows, nlist = ("gaussian:n=60000,d=64", "1500") if SANITIZED else ("gaussian:n=400000,d=128", "4000")
        for arguments in (("train", rows, "-o", "b.ivf", "--nlist", nlist, "--iterations", "1000"),
                          ("demo", "--nb", "300k", "--nlist", "1200"),
                          ("truth", "--base", "gaussian:n=2000000,d=32", "--queries", "gaussian:n=5000,d=32", "-o", "t.npy")):
            with self.subTest(arguments=arguments):
                names = self.names()
                process = self.start(*arguments)
                time.sleep(1.0)
                sent = time.monotonic()
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=120)
                self.assertEqual(process.returncode, -signal.SIGINT, stderr)
                self.assertEqual(stderr, STOPPED % b"SIGINT")
                self.assertLess(time.monotonic() - sent, 30)
                self.assertEqual(self.names(), names)

    def test_ignored_signals_stay_ignored(self):
        process = subprocess.Popen(["bash", "-c", f"trap '' HUP; exec {self.program} convert - out.fvecs"], cwd=self.path,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(ROWS)
        process.stdin.flush()
        self.wait_until_taken(process)
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertEqual((self.path / "out.fvecs").read_bytes(), ROWS)

    def test_full_disk_leaves_nothing(self):
        # A limit of the file size stands for the disk: the write fails in the same place.
        def limit():
            self.default_signals()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

        self.ivf("train", "base.fvecs", "-o", "b.ivf", "--nlist", "4", "-q")
        self.ivf("add", "b.ivf", "gaussian:n=10000,d=8", "-q")
        self.ivf("export", "b.ivf", "--faiss", "b.faiss", "-q")
        names = self.names()
        for arguments in (("convert", "gaussian:n=100000,d=8", "out.npy"), ("convert", "gaussian:n=100000,d=8", "out.h5"),
                          ("add", "a.ivf", "gaussian:n=100000,d=8"), ("train", "gaussian:n=9000,d=64", "-o", "out.ivf", "--nlist", "900"),
                          ("search", "a.ivf", "gaussian:n=10000,d=8", "-o", "out.npy", "--out-distances", "d.npy"),
                          ("search", "a.ivf", "gaussian:n=10000,d=8", "-o", "out.jsonl"),
                          ("export", "b.ivf", "--faiss", "out.faiss"), ("export", "b.ivf", "--npy", "out"),
                          ("export", "b.ivf", "--hdf5", "out.h5"), ("import", "--faiss", "b.faiss", "out.ivf"),
                          ("reconstruct", "b.ivf", "--ids", "0-9999", "-o", "out.fvecs")):
            with self.subTest(arguments=arguments):
                process = subprocess.run([self.program, *arguments], cwd=self.path, capture_output=True, preexec_fn=limit,
                                         timeout=120)
                self.assertEqual(process.returncode, 1, process.stderr)
                self.assertRegex(process.stderr.decode().splitlines()[-1], r"^ivf: error: .*(File too large|full|write)")
                self.assertEqual(self.names(), names)
        self.assertEqual(digest(self.path / "a.ivf"), self.before)

    def test_two_outputs_or_none(self):
        # The second file cannot be put in its place any more when the first one has been.
        process = self.start("search", "a.ivf", "-", "-o", "out.ivecs", "--out-distances", "out.fvecs", stdin=subprocess.PIPE)
        process.stdin.write(ROWS)
        process.stdin.flush()
        self.wait_until_taken(process)
        (self.path / "out.fvecs").mkdir()
        names = [name for name in self.names() if ".part." not in name]
        _, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertRegex(stderr.decode(), r"ivf: error: .*out\.fvecs: cannot be put in place: ")
        self.assertEqual(self.names(), names)

    def test_a_reader_that_stops_reading(self):
        process = self.start("search", "a.ivf", "base.fvecs", "-k", "100")
        process.stdout.read(10)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), -signal.SIGPIPE)

    def test_a_reader_that_stops_reading_many_threads(self):
        # Threads that wait for the next piece of work keep nothing alive, whenever the reader leaves.
        for mode in ("matrix", "csr"):
            for threads in (2, 4, 7):
                for k, count in ((7, 50), (100, 2000)):
                    process = self.start("search", "a.ivf", "base.fvecs", "--count", count, "-k", k, "--nprobe", "5", "--search-mode",
                                         mode, "--threads", threads)
                    process.stdout.readline()
                    process.stdout.close()
                    process.stderr.read()
                    process.stderr.close()
                    # What fits into the pipe may have been written before.
                    allowed = (0, -signal.SIGPIPE) if count == 50 else (-signal.SIGPIPE,)
                    self.assertIn(process.wait(timeout=120), allowed)

    def test_two_writers(self):
        first = self.start("add", "a.ivf", "-", stdin=subprocess.PIPE)
        first.stdin.write(ROWS)
        first.stdin.flush()
        self.wait_until_taken(first)
        code, _, stderr = self.run_ivf("add", "a.ivf", "base.fvecs")
        self.assertEqual(code, 1)
        self.assertRegex(stderr.decode(), r"^ivf: error: .*a\.ivf.*\n$")
        # Readers are not kept out.
        self.assertIn(b"sound (2,000 rows", self.ivf("verify", "a.ivf"))
        first.communicate(timeout=60)
        self.assertEqual(first.returncode, 0)
        self.assertIn(b"sound (7,000 rows", self.ivf("verify", "a.ivf"))


if __name__ == "__main__":
    main()
