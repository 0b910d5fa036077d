#!/usr/bin/env python3
"""Nothing is written but what was named: modes, links, links out of HDF5 files, and every path that a command touches.

    tests/torture/security.py PATH/TO/ivf PATH/TO/libivf_file_calls.so
"""
import os
import pathlib
import re
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
    "compact": ("compact a.ivf -o {out} --force", "ivf"), "merge-results": ("merge-results r.tsv r.tsv -o {out} --force", "tsv"),
    "export to HDF5": ("export a.ivf --hdf5 {out} --force", "h5"),
}
BENCH = "--nb 500 --dim 4 --nlist 4 --warmup 0 --repeat 1 --out out.jsonl"
# All commands, each with the files that it is to write: those above, and these.
WRITES = {what: (words.format(out=f"out.{extension}"), f"out.{extension}", *(["d.fvecs"] if "d.fvecs" in words else []))
          for what, (words, extension) in OUTPUTS.items()} | {
    "add": ("add a.ivf base.fvecs", "a.ivf"), "add --replace": ("add a.ivf base.fvecs --ids ids.txt --replace", "a.ivf"),
    "remove": ("remove a.ivf --ids 0-9", "a.ivf"), "add --auto-compact": ("add a.ivf base.fvecs --auto-compact 0.01", "a.ivf"),
    "compact in place": ("compact a.ivf --sort", "a.ivf"), "split": ("split a.ivf --shards 2 --out s --force", "s-0.ivf", "s-1.ivf"),
    "truth with vectors": ("truth --base base.fvecs --queries base.fvecs -o t.h5 --with-vectors --force", "t.h5"),
    "export --npy": ("export a.ivf --npy e --force", *(f"e-{part}.npy" for part in ("centroids", "offsets", "ids", "vectors"))),
    "convert from HDF5": ("convert base.h5 out.npy --force", "out.npy"), "bench": (f"bench {BENCH}", "out.jsonl"),
    "sweep": (f"sweep-nprobe {BENCH} --nprobe-list 1,2", "out.jsonl"), "info": ("info a.ivf",), "verify": ("verify a.ivf",),
    "search to stdout": ("search a.ivf base.fvecs",), "search to a pipe": ("search a.ivf base.fvecs -o jsonl:-",),
    "convert to a pipe": ("convert base.fvecs npy:-",), "search to a pipe, by way of a file": ("search a.ivf base.fvecs -o gt:-",),
    "eval": ("eval r.tsv --truth r.ivecs",), "devices": ("devices",), "demo": ("demo --nb 1000 --nlist 4 --dim 4",),
    "merge": ("merge out.ivf a.ivf --force", "out.ivf"),
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
        self.ivf("search a.ivf base.fvecs -o r.tsv")
        self.ivf("search a.ivf base.fvecs -o r.ivecs")
        (self.path / "ids.txt").write_text("\n".join(map(str, range(100))), encoding="ascii")

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
        self.ivf("convert base.fvecs base.h5")
        temporary = self.path / "temporary"
        temporary.mkdir()
        for what, (words, *outputs) in WRITES.items():
            with self.subTest(what):
                log = self.path.parent / f"{self.path.name}.log"
                self.addCleanup(lambda log=log: log.unlink(missing_ok=True))
                self.ivf(words, env={"LD_PRELOAD": LIBRARY, "IVF_FAULT_DIR": "/", "IVF_FAULT_LOG": str(log),
                                     "TMPDIR": str(temporary)})
                names = touched(log)
                log.unlink()
                named = [str(self.path / output) for output in outputs]
                for name in named:
                    self.assertIn(name, names, f"{words}: nothing was recorded of what it writes")
                for name in names - set(named):
                    # Memory that two processes share has the form of a file, and no name; what is measured asks the kernel
                    # to count the process's memory anew. The directory is synced, and temporary files are beside the
                    # outputs, or, on the way to a pipe, in $TMPDIR.
                    self.assertTrue(
                        name == "/dev/null" or name.startswith(("/memfd:", f"{temporary}/ivf-spool-")) or
                        re.fullmatch(r"/proc/(self|[0-9]+)/clear_refs", name) or
                        (outputs and name == str(self.path)) or
                        any(name.startswith((f"{known}.tmp.", f"{known}.part.")) for known in named), f"{words}: {name}")
                self.assertEqual(os.listdir(temporary), [])

    def test_links_and_plugins_in_hdf5_files(self):
        # Made once with h5py: "train" is an external link to /etc/passwd, "plugin" asks for filter 32015.
        for name, why in (("external-link", "links are not followed"), ("plugin-filter", "no plugins are loaded")):
            source = pathlib.Path(__file__).resolve().parent / f"{name}.h5"
            done = self.ivf(f"convert {source} out.fvecs", code=3)
            self.assertRegex(done.stderr.decode(), rf"^ivf: error: .*{name}\.h5.*{why}.*\n$")
            self.assertFalse((self.path / "out.fvecs").exists())


def touched(log):
    """The files that were changed, from the log of file_calls.cpp."""
    names = set()
    with open(log, "rb") as lines:
        while line := lines.readline():
            call, _, name, other, _, size = line.decode().rstrip("\n").split("\t")
            lines.read(int(size))
            names |= {os.path.normpath(path) for path in (name, other) if path != "" and call != "close"}
    return names


if __name__ == "__main__":
    PROGRAM, LIBRARY = (str(pathlib.Path(path).resolve()) for path in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
