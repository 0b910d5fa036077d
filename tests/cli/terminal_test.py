#!/usr/bin/env python3
"""What people see on a terminal: tables, progress bars, and no binary data."""
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
import fcntl
import json

from support import IvfTest, main, vectors


class Terminal(IvfTest):
    def setUp(self):
        super().setUp()
        self.ivf("convert", "gaussian:n=1000,d=8,seed=3", "base.fvecs", "-q")
        self.ivf("train", "base.fvecs", "-o", "a.ivf", "--nlist", "10", "-q")
        self.ivf("add", "a.ivf", "base.fvecs", "-q")

    def on_terminal(self, *arguments, streams, feed=None, width=80, env=None):
        """Runs with some of the streams on a terminal. Returns exit code and what the terminal showed.

        `feed`: pieces of input and pauses in seconds, for a pipe on stdin."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        options = {name: follower if name in streams else subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
        if feed:
            options["stdin"] = subprocess.PIPE
        process = self.start(*arguments, env={"TERM": "xterm", **(env or {})}, **options)
        os.close(follower)
        for piece in feed or ():
            if isinstance(piece, bytes):
                process.stdin.write(piece)
                process.stdin.flush()
            elif callable(piece):
                piece(leader, process)
            else:
                time.sleep(piece)
        if feed:
            process.stdin.close()
        shown = b""
        while True:
            ready, _, _ = select.select([leader], [], [], 60)
            if not ready:
                self.fail("the command does not end")
            try:
                data = os.read(leader, 65536)
            except OSError:  # The other side is closed.
                break
            if not data:
                break
            shown += data
        os.close(leader)
        return process.wait(timeout=60), shown.decode()

    def test_results_are_a_table(self):
        code, shown = self.on_terminal("search", "a.ivf", "base.fvecs", "-k", "2", "--count", "2", "-q", streams=("stdout",))
        self.assertEqual(code, 0)
        lines = shown.splitlines()
        self.assertEqual(lines[0].split(), ["query", "rank", "id", "distance"])
        self.assertEqual(lines[1].split(), ["0", "1", "0", "0"])
        self.assertEqual(len(lines), 5)

    def test_a_long_table_is_cut_and_says_so(self):
        code, shown = self.on_terminal("search", "a.ivf", "base.fvecs", "-k", "10", streams=("stdout", "stderr"))
        self.assertEqual(code, 0)
        self.assertEqual(shown.count("\n"), 1 + 200 + 2)
        self.assertIn("(980 more queries; ", shown)
        # A pipe gets everything.
        self.assertEqual(self.ivf("search", "a.ivf", "base.fvecs", "-k", "10").count(b"\n"), 10000)

    def test_no_binary_data(self):
        for destination in ("-", "npy:-", "fvecs:-"):
            code, shown = self.on_terminal("convert", "base.fvecs", destination, streams=("stdout", "stderr"))
            self.assertEqual(code, 2)
            self.assertRegex(shown, r"^ivf: error: .*terminal.*\r\n$")
        code, shown = self.on_terminal("add", "a.ivf", "-", streams=("stdin", "stderr"))
        self.assertEqual(code, 2)
        self.assertRegex(shown, r"^ivf: error: .*terminal.*\r\n$")

    # More than is read at a time.
    ROWS = vectors([[float(i + j) for j in range(8)] for i in range(70000)])
    SLOW = [ROWS, 1.3, ROWS, 0.2, ROWS, 0.2, ROWS]

    def test_progress_of_long_work(self):
        code, shown = self.on_terminal("convert", "-", "out.fvecs", streams=("stderr",), feed=self.SLOW)
        self.assertEqual(code, 0)
        self.assertRegex(shown, r"\rconverting  [\d.]+k?  0:0[1-9]\x1b\[K")
        # It is taken away before the last word.
        self.assertTrue(shown.endswith("\r\x1b[Kout.fvecs: 280,000 rows of 8 float32 values\r\n"), shown)

    def test_no_progress_when_not_wanted(self):
        for arguments, env in ((("--no-progress",), {}), (("-q",), {}), ((), {"TERM": "dumb"})):
            code, shown = self.on_terminal("convert", "-", "out.fvecs", "--force", *arguments, streams=("stderr",),
                                           feed=self.SLOW, env=env)
            self.assertEqual(code, 0)
            self.assertNotIn("converting", shown)
        # Nor for short work, nor where stderr is no terminal.
        code, shown = self.on_terminal("convert", "base.fvecs", "out.fvecs", "--force", streams=("stderr",))
        self.assertEqual(shown, "out.fvecs: 1,000 rows of 8 float32 values\r\n")

    def test_a_narrow_terminal_and_a_resized_one(self):
        def resize(columns):
            def act(leader, process):
                fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
                # What the kernel tells the processes of a terminal.
                process.send_signal(signal.SIGWINCH)
            return act

        feed = [self.ROWS, 1.3, self.ROWS, 0.2, resize(60), self.ROWS, 0.2, resize(10), self.ROWS, 0.2, self.ROWS]
        code, shown = self.on_terminal("convert", "-", "out.fvecs", streams=("stderr",), feed=feed, width=30)
        self.assertEqual(code, 0)
        self.assertEqual((self.path / "out.fvecs").read_bytes(), self.ROWS * 5)
        drawn = [part.split("\x1b[K")[0] for part in shown.split("\r") if "converting"[:5] in part]
        self.assertGreater(len(drawn), 1)
        self.assertLess(len(drawn[0]), 30)
        self.assertLess(len(drawn[-1]), 10)

    def test_interrupt_takes_the_bar_away(self):
        def interrupt(_, process):
            process.send_signal(signal.SIGINT)

        code, shown = self.on_terminal("convert", "-", "out.fvecs", streams=("stderr",),
                                       feed=[self.ROWS, 1.3, self.ROWS, 0.2, interrupt])
        self.assertEqual(code, -signal.SIGINT)
        self.assertTrue(shown.endswith("\r\x1b[Kivf: error: stopped by SIGINT; no file was written or changed: the same command can be run again\r\n"), shown)

    def test_a_measurement_is_a_table(self):
        small = ["--nb", "2000", "--dim", "8", "--nlist", "10", "--repeat", "1", "-q"]
        code, shown = self.on_terminal("bench", *small, streams=("stdout", "stderr"))
        self.assertEqual(code, 0)
        self.assertIn("queries/s", shown)
        self.assertNotIn("record_version", shown)
        code, shown = self.on_terminal("bench", *small, "--json", streams=("stdout", "stderr"))
        self.assertEqual((code, json.loads(shown)["record_version"]), (0, 1))
        code, shown = self.on_terminal("bench", *small, "--profile", streams=("stdout", "stderr"))
        self.assertIn("rows re-computed a query", shown)


if __name__ == "__main__":
    main()
