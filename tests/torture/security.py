#!/usr/bin/env python3
"""Nothing is written but what was named: modes, links, links out of HDF5 files, and every path that a command touches.

    tests/torture/security.py PATH/TO/ivf PATH/TO/libivf_file_calls.so
"""
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

PROGRAM = LIBRARY = ""
# Commands that make or replace {out}.
OUTPUTS = {
    "train": ("train base.fvecs -o {out} --nlist 4 --force", "ivf"), "convert": ("convert base.fvecs {out} --force", "npy"),
    "convert to HDF5": ("convert base.fvecs {out} --force", "h5"), "search": ("search a.ivf base.fvecs -o {out} --force", "tsv"),
    "search, vectors": ("search a.ivf base.fvecs -o {out} --out-distances d.fvecs --force", "ivecs"),
    "truth": ("truth --base base.fvecs --queries base.fvecs -o {out} --force", "npy"),
    "export": ("export a.ivf --faiss {out} --force", "faiss"), "import": ("import --faiss a.faiss {out} --force", "ivf"),
    "reconstruct": ("reconstruct a.ivf --ids 0-9 -o {out} --force", "npy"), "merge": ("merge {out} a.ivf --force", "ivf"),
    "compact": ("compact a.ivf -o {out} --force", "ivf"),
}


class Security(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="ivf-security-")
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name).resolve()
        self.ivf("convert gaussian:n=100,d=4 base.fvecs")
        self.ivf("train base.fvecs -o a.ivf --nlist 4")
        self.ivf("add a.ivf base.fvecs")
        self.ivf("export a.ivf --faiss a.faiss")

    def ivf(self, words, code=0, umask=0o022, env=None):
        done = subprocess.run([PROGRAM, *words.split(), "-q"], cwd=self.path, capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=120, preexec_fn=lambda: os.umask(umask), env={**os.environ, **(env or {})}, check=False)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def mode(self, name):
        return stat.S_IMODE((self.path / name).stat().st_mode)

    def test_new_files_keep_the_umask_and_replaced_ones_their_mode(self):
        for what, (words, extension) in OUTPUTS.items():
            with self.subTest(what):
                name = f"out.{extension}"
                self.ivf(words.format(out=name), umask=0o077)
                self.assertEqual(self.mode(name), 0o600)
                (self.path / name).unlink()
                self.ivf(words.format(out=name), umask=0o002)
                self.assertEqual(self.mode(name), 0o664)
                (self.path / name).chmod(0o640)
                self.ivf(words.format(out=name), umask=0)
                self.assertEqual(self.mode(name), 0o640)
                (self.path / name).unlink()

    def test_a_symbolic_link_stays_and_its_target_is_replaced(self):
        (self.path / "elsewhere").mkdir()
        for what, (words, extension) in OUTPUTS.items():
            with self.subTest(what):
                target = self.path / "elsewhere" / f"target.{extension}"
                target.write_bytes(b"old")
                link = self.path / f"link.{extension}"
                link.symlink_to(target)
                self.ivf(words.format(out=link.name))
                self.assertTrue(link.is_symlink())
                self.assertNotEqual(target.read_bytes(), b"old")
                self.assertEqual(os.listdir(target.parent), [target.name])
                target.unlink()
                link.unlink()

    def test_an_add_keeps_the_mode(self):
        (self.path / "a.ivf").chmod(0o600)
        self.ivf("add a.ivf base.fvecs", umask=0)
        self.assertEqual(self.mode("a.ivf"), 0o600)

    def test_only_what_is_named_is_written(self):
        commands = {what: words.format(out=f"out.{extension}") for what, (words, extension) in OUTPUTS.items()}
        commands |= {"add": "add a.ivf base.fvecs", "info": "info a.ivf", "verify": "verify a.ivf", "search to stdout": "search a.ivf base.fvecs",
                     "convert from HDF5": "convert base.h5 out.npy --force", "bench": "bench --nb 500 --dim 4 --nlist 4 --out out.jsonl"}
        self.ivf("convert base.fvecs base.h5")
        for what, words in commands.items():
            with self.subTest(what):
                log = self.path.parent / f"{self.path.name}.log"
                self.addCleanup(lambda log=log: log.unlink(missing_ok=True))
                self.ivf(words, env={"LD_PRELOAD": LIBRARY, "IVF_FAULT_DIR": "/", "IVF_FAULT_LOG": str(log)})
                named = [str(self.path / word) for word in words.split()] + [str(self.path)]
                for name in touched(log):
                    # Memory that two processes share has the form of a file, and no name; /proc/PID is the process itself.
                    if name.startswith(("/memfd:", "/dev/", "/proc/")):
                        continue
                    self.assertTrue(any(name == known or name.startswith((f"{known}.tmp.", f"{known}.part.")) for known in named),
                                    f"{words}: {name}")
                log.unlink(missing_ok=True)

    def test_links_and_plugins_in_hdf5_files(self):
        # Made once with h5py: "train" is an external link to /etc/passwd, "plugin" asks for filter 32015.
        for name in ("external-link", "plugin-filter"):
            source = pathlib.Path(__file__).resolve().parent / f"{name}.h5"
            done = self.ivf(f"convert {source} out.fvecs", code=3)
            self.assertEqual(done.stderr.count(b"\n"), 1)
            self.assertFalse((self.path / "out.fvecs").exists())


def touched(log):
    """The files that were changed, from the log of file_calls.cpp."""
    names = set()
    if log.exists():
        with open(log, "rb") as lines:
            while line := lines.readline():
                call, _, name, other, _, size = line.decode().rstrip("\n").split("\t")
                lines.read(int(size))
                names |= {name, other} - {""} if call != "close" else set()
    return names


if __name__ == "__main__":
    PROGRAM, LIBRARY = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
