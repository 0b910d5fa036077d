#!/usr/bin/env python3
"""Memory: an index that is searched takes next to no private memory, and large data pass through a small workspace."""
import os
import subprocess

from support import IvfTest, main

MIB = 1 << 20


class Memory(IvfTest):
    def private_bytes(self, process):
        """Memory that is the process's own, not the file's: what smaps_rollup calls anonymous."""
        with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("Anonymous:"):
                    return int(line.split()[1]) * 1024
        self.fail("smaps_rollup has no line for anonymous memory")

    def peak_bytes(self, *arguments):
        """Peak resident memory of a run that must succeed, without the pages of mapped files."""
        peak = 0
        process = self.start(*arguments, stdout=subprocess.DEVNULL)
        while True:
            done, status = os.waitpid(process.pid, os.WNOHANG)
            if done:
                break
            try:
                peak = max(peak, self.private_bytes(process))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # It ended just now.
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr = process.stderr.read().decode()
        process.stderr.close()
        self.assertEqual(process.returncode, 0, stderr)
        return peak

    def test_a_searched_index_stays_in_the_file(self):
        self.ivf("train", "gaussian:n=5000,d=128", "-o", "a.ivf", "--nlist", "64", "--iterations", "2", "-q")
        self.ivf("add", "a.ivf", "gaussian:n=120000,d=128", "-q")
        size = (self.path / "a.ivf").stat().st_size
        self.assertGreater(size, 60 * MIB)
        self.ivf("convert", "gaussian:n=64,d=128,seed=9", "queries.fvecs", "-q")
        with self.subTest("info"):
            self.assertLess(self.peak_bytes("info", "a.ivf"), size // 10)
        for options in (("--nprobe", "64"), ("--exact",), ("--nprobe", "64", "--search-mode", "matrix")):
            with self.subTest(options=options):
                self.assertLess(self.peak_bytes("search", "a.ivf", "queries.fvecs", "--threads", "2", *options), size // 4)
        with self.subTest("loaded and waiting"):
            process = self.start("search", "a.ivf", "-", "-q", stdin=subprocess.PIPE)
            process.stdin.write((self.path / "queries.fvecs").read_bytes())
            process.stdin.flush()
            peak = 0
            for _ in range(50):
                peak = max(peak, self.private_bytes(process))
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0)
            self.assertLess(peak, size // 10)

    def test_large_data_pass_through(self):
        # 128 MiB of vectors through workspaces of 32 MiB. The rest is the program itself, its threads and its buffers.
        self.ivf("convert", "gaussian:n=524288,d=64", "base.fvecs", "-q")
        self.ivf("convert", "gaussian:n=100,d=64,seed=2", "queries.fvecs", "-q")
        limit = 32 * MIB + 24 * MIB
        for arguments in (("convert", "base.fvecs", "base.npy"), ("convert", "base.fvecs", "base.h5"),
                          ("train", "base.fvecs", "-o", "a.ivf", "--nlist", "32", "--iterations", "2"),
                          ("add", "a.ivf", "base.fvecs"),
                          ("search", "a.ivf", "base.fvecs", "-k", "1", "--nprobe", "1", "-o", "ids.npy"),
                          ("export", "a.ivf", "--faiss", "a.faiss"), ("import", "--faiss", "a.faiss", "b.ivf"),
                          ("export", "a.ivf", "--npy", "a"), ("export", "a.ivf", "--hdf5", "a.h5"),
                          ("reconstruct", "a.ivf", "--ids", "0-299999", "-o", "r.fvecs"),
                          ("truth", "--base", "base.fvecs", "--queries", "queries.fvecs", "-o", "t.npy"),
                          ("eval", "ids.npy", "--truth", "ids.npy")):
            with self.subTest(arguments=arguments):
                self.assertLess(self.peak_bytes(*arguments, "--max-memory", "32M", "--threads", "2"), limit)


if __name__ == "__main__":
    main()
