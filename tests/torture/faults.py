#!/usr/bin/env python3
"""System calls fail and the power goes, in every command that writes: there is the old file or the new one, and no other.

    tests/torture/faults.py PATH/TO/ivf PATH/TO/libivf_file_calls.so [--every N]

Faults: each call by which a file is changed fails in turn (ENOSPC, EIO, once and for ever), writes are short and
interrupted. Power: the writes of a run are recorded; the disk after a crash holds, for every prefix of them, what was
made durable, and of the rest all, nothing, all but one, or one alone; the latest of them torn, within a sector or with
some of its sectors missing; and all of them in reverse order. --every N tries only every Nth fault and crash.
"""
import argparse
import errno
import pathlib
import shutil
import subprocess
import sys
import tempfile

TIMEOUT_S = 120
SECTOR = 512
FAULTS = [
    ("open", errno.ENOSPC, False), ("write", errno.ENOSPC, True), ("write", errno.EIO, False), ("fsync", errno.EIO, False),
    ("fsync", errno.ENOSPC, True), ("rename", errno.EIO, False), ("ftruncate", errno.EIO, False), ("chmod", errno.EPERM, False),
    ("close", errno.EIO, False),
]


class Command:
    """A command, the files that it makes or replaces, and whether those are there before."""

    def __init__(self, words, *outputs, existing=True, index=False):
        self.words, self.outputs, self.existing, self.index = words.split(), outputs, existing, index


COMMANDS = [
    Command("train base.fvecs -o new.ivf --nlist 4", "new.ivf", existing=False),
    Command("train base.fvecs -o old.ivf --nlist 4 --force", "old.ivf"),
    Command("train base.fvecs -o new.ivf --nlist 4 --compress", "new.ivf", existing=False),
    Command("add a.ivf base.fvecs", "a.ivf", index=True),
    Command("add c.ivf base.fvecs", "c.ivf", index=True),
    Command("convert base.fvecs new.npy", "new.npy", existing=False),
    Command("convert base.fvecs old.fbin --force", "old.fbin"),
    Command("convert base.fvecs old.fvecs --force", "old.fvecs"),
    Command("convert base.fvecs new.h5", "new.h5", existing=False),
    Command("convert base.fvecs old.h5:more --force", "old.h5"),
    Command("search a.ivf base.fvecs -o new.tsv", "new.tsv", existing=False),
    Command("search a.ivf base.fvecs -o old.jsonl --force", "old.jsonl"),
    Command("search a.ivf base.fvecs -o new.ivecs --out-distances new.fvecs", "new.ivecs", "new.fvecs", existing=False),
    Command("search a.ivf base.fvecs -o new.h5", "new.h5", existing=False),
    Command("search a.ivf base.fvecs -o gt:new.gt", "new.gt", existing=False),
    Command("truth --base base.fvecs --queries base.fvecs -o old.npy --force", "old.npy"),
    Command("compact a.ivf --sort", "a.ivf"),
    Command("compact c.ivf -o new.ivf --no-compress", "new.ivf", existing=False),
    Command("merge new.ivf a.ivf c.ivf --ids shift", "new.ivf", existing=False),
    Command("merge a.ivf c.ivf a.ivf --ids keep --retrain --force", "a.ivf"),
    Command("split a.ivf --shards 2 --out new", "new-0.ivf", "new-1.ivf", existing=False),
    Command("export a.ivf --faiss new.faiss", "new.faiss", existing=False),
    Command("export a.ivf --faiss old.fbin --force", "old.fbin"),
    Command("export a.ivf --npy new", "new-centroids.npy", "new-offsets.npy", "new-ids.npy", "new-vectors.npy", existing=False),
    Command("export a.ivf --hdf5 new.h5", "new.h5", existing=False),
    Command("import --faiss a.faiss new.ivf", "new.ivf", existing=False),
    Command("import --faiss a.faiss old.ivf --force", "old.ivf"),
    Command("reconstruct a.ivf --ids 0-99 -o new.fvecs", "new.fvecs", existing=False),
]


class Torture:
    def __init__(self, ivf, library, every):
        self.ivf, self.library, self.every = str(ivf.resolve()), str(library.resolve()), every
        self.faults = self.harmless = self.crashes = 0
        self.failures = []

    def run(self, directory, words, env=None):
        return subprocess.run([self.ivf, *words, "-q", "--threads", "1"], cwd=directory, capture_output=True, timeout=TIMEOUT_S,
                              stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **(env or {})}, check=False)

    def preload(self, directory, **settings):
        return {"LD_PRELOAD": self.library, "IVF_FAULT_DIR": str(directory), **settings}

    def prepare(self, directory):
        def must(words):
            done = self.run(directory, words.split())
            if done.returncode != 0:
                sys.exit(f"faults: ivf {words}: {done.stderr.decode()}")

        must("convert gaussian:n=300,d=6 base.fvecs")
        for name, options in (("a.ivf", ""), ("c.ivf", " --compress"), ("old.ivf", "")):
            must(f"train base.fvecs -o {name} --nlist 8{options}")
        must("add a.ivf base.fvecs")
        must("add c.ivf base.fvecs")
        must("export a.ivf --faiss a.faiss")
        for name in ("old.fbin", "old.fvecs", "old.npy", "old.h5"):
            must(f"convert gaussian:n=20,d=3,seed=7 {name}")
        (directory / "old.jsonl").write_bytes(b"{}\n")

    def fail(self, command, what, why):
        self.failures.append(f"ivf {' '.join(command.words)}: {what}: {why}")
        print("faults: " + self.failures[-1], flush=True)

    def state(self, command, directory, before, after):
        """Whether the outputs are the old ones or the new ones, all of them; a word for anything else."""
        found = [(directory / name).read_bytes() if (directory / name).exists() else None for name in command.outputs]
        if found == after:
            return "new"
        if found == before:
            return "old"
        if not command.index:
            return "mixed"
        # An index may have leftovers of a writer past its end: what counts is what a reader sees.
        done = self.run(directory, ["verify", command.outputs[0]])
        if done.returncode != 0:
            return "broken: " + done.stderr.decode().strip()
        rows = done.stdout.decode()
        return "old" if "(300 rows" in rows else "new" if "(600 rows" in rows else "mixed: " + rows

    def reference(self, command, base):
        """The outputs before, those after, and the calls of a run without faults."""
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            directory = pathlib.Path(name).resolve() / "work"
            shutil.copytree(base, directory)
            log = directory.parent / "log"
            before = [(directory / out).read_bytes() if (directory / out).exists() else None for out in command.outputs]
            start = {path.name: path.read_bytes() for path in directory.iterdir()}
            done = self.run(directory, command.words, self.preload(directory, IVF_FAULT_LOG=str(log)))
            if done.returncode != 0:
                sys.exit(f"faults: ivf {' '.join(command.words)}: {done.stderr.decode()}")
            after = [(directory / out).read_bytes() for out in command.outputs]
            return before, after, start, read_log(log, directory)

    def fault(self, command, base, before, after, call, number, error, ever, short=False):
        """One run. False when the call was never made."""
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            directory = pathlib.Path(name).resolve() / "work"
            shutil.copytree(base, directory)
            names = {path.name for path in directory.iterdir()}
            log = directory.parent / "log"
            settings = {"IVF_FAULT_LOG": str(log)}
            if short:
                settings["IVF_FAULT_SHORT"] = "100"
            else:
                settings["IVF_FAULT"] = f"{call}:{number}:{error}" + (":ever" if ever else "")
            done = self.run(directory, command.words, self.preload(directory, **settings))
            steps = read_log(log, directory) if log.exists() else []
            failed = [at for at, step in enumerate(steps) if step.failed]
            if not failed and not short:
                return False
            self.faults += 1
            what = "short writes" if short else f"{call} number {number} failing with {errno.errorcode[error]}{' for ever' if ever else ''}"
            stderr = done.stderr.decode(errors="replace")
            state = self.state(command, directory, before, after)
            allowed = {"new"} if done.returncode == 0 else {"old", "new"}
            if state not in allowed:
                self.fail(command, what, f"exit code {done.returncode}, and the outputs are {state}")
            if done.returncode not in (0, 1) or (short and done.returncode != 0):
                self.fail(command, what, f"exit code {done.returncode}: {stderr}")
            if done.returncode == 1 and (not stderr.startswith("ivf: error: ") or stderr.count("\n") != 1):
                self.fail(command, what, f"expected one line of error, found {stderr!r}")
            if done.returncode == 0 and not short:
                self.harmless += 1
                # All that may fail unnoticed is what comes after everything is durable, and cleaning up.
                if call not in ("close", "ftruncate"):
                    self.fail(command, what, "went unnoticed")
            left = {path.name for path in directory.iterdir()} - names - set(command.outputs)
            if left:
                self.fail(command, what, f"left behind: {sorted(left)}")
            if call == "fsync" and not ever and any(
                    step.call == "fsync" and step.path == steps[failed[0]].path for step in steps[failed[0] + 1:]):
                self.fail(command, what, "a failed fsync was tried again")
            return True

    def crash_states(self, steps):
        """Every moment at which the power may go, and for each the steps that may have reached the disk by then."""
        for end in range(len(steps) + 1):
            durable, since = split_durable(steps[:end])
            variants = {(), tuple(since)}
            for i in range(len(since)):
                variants.add(tuple(since[:i] + since[i + 1:]))
                variants.add((since[i],))
            for variant in variants:
                yield end, [steps[i] for i in sorted(set(durable) | set(variant))]
            before = [steps[i] for i in durable]
            if end and since and since[-1] == end - 1 and steps[end - 1].call == "write":
                for pieces in torn(steps[end - 1]):
                    yield end, [steps[i] for i in sorted(durable + since[:-1])] + pieces
                    yield end, before + pieces
            # Names keep their order: the file system's journal does.
            if len(since) > 1:
                names = [i for i in since if steps[i].call not in ("write", "ftruncate")]
                yield end, [steps[i] for i in sorted(durable + names)] + [
                    steps[i] for i in reversed(since) if steps[i].call == "write"]

    def power(self, command, base, before, after, start, steps):
        seen = set()
        for at, (end, kept) in enumerate(self.crash_states(steps)):
            if at % self.every and 0 < end < len(steps):
                continue
            files = replay(start, kept)
            if files is None:
                continue  # A rename of what was never made: no order of the disk gives that.
            picture = tuple(files.get(name) for name in command.outputs)
            self.crashes += 1
            # Two renames are two moments: a crash may come between them, and each file is then the old or the new one.
            if picture in seen or all(found in (old, new) for found, old, new in zip(picture, before, after)):
                continue
            seen.add(picture)
            state = "mixed"
            if command.index:
                with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
                    directory = pathlib.Path(name)
                    for output in command.outputs:
                        (directory / output).write_bytes(files[output])
                    state = self.state(command, directory, before, after)
            if state not in ("old", "new"):
                self.fail(command, f"power loss after {end} of {len(steps)} calls with {len(kept)} on disk", state)
        final = replay(start, [step for step in steps])
        if [final.get(name) for name in command.outputs] != after:
            self.fail(command, "replay of all calls", "is not what the run wrote: the recording misses something")

    def torture(self, only):
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            base = pathlib.Path(name) / "base"
            base.mkdir()
            self.prepare(base)
            commands = [command for command in COMMANDS if only in " ".join(command.words)]
            for command in commands:
                before, after, start, steps = self.reference(command, base)
                self.power(command, base, before, after, start, steps)
                self.fault(command, base, before, after, "write", 0, 0, False, short=True)
                for call, error, ever in FAULTS:
                    number = 0
                    while self.fault(command, base, before, after, call, number, error, ever):
                        number += self.every
        print(f"faults: {len(commands)} commands, {self.faults} faults injected ({self.harmless} harmless), "
              f"{self.crashes} crashes replayed, {len(self.failures)} failures")
        return 1 if self.failures or self.faults == 0 or self.crashes == 0 else 0


class Step:
    def __init__(self, call, failed, path, other, offset, data):
        self.call, self.failed, self.path, self.other, self.offset, self.data = call, failed, path, other, offset, data


def read_log(path, directory):
    """The calls on files of the directory, by their names in it."""
    steps = []
    prefix = str(directory) + "/"
    with open(path, "rb") as log:
        while line := log.readline():
            call, state, name, other, offset, size = line.decode().rstrip("\n").split("\t")
            data = log.read(int(size))
            steps.append(Step(call, state == "failed", name.removeprefix(prefix), other.removeprefix(prefix), int(offset), data))
            if name == str(directory):
                steps[-1].path = "."
    return steps


def torn(step):
    """What a write may leave behind that did not come to its end: lists of smaller writes."""
    def piece(begin, end):
        return Step("write", False, step.path, "", step.offset + begin, step.data[begin:end])

    size = len(step.data)
    sectors = [0, *range(SECTOR - step.offset % SECTOR, size, SECTOR), size]
    middle = len(sectors) // 2
    yield [piece(0, size // 2)]
    yield [piece(size // 2, size)]
    if len(sectors) > 2:
        yield [piece(0, sectors[middle])]
        yield [piece(sectors[middle], size)]
        for first in (0, 1):
            yield [piece(begin, end) for begin, end in list(zip(sectors, sectors[1:]))[first::2]]


def split_durable(steps):
    """Indices of the steps that an fsync has made durable, and of those that may be lost. Names become durable with their
    directory, in their order; what a file holds, with the file, whatever it was called when it was written."""
    called = {}  # The name of each file now -> its first name.
    first = []
    for step in steps:
        if step.call == "rename":
            called[step.other] = called.pop(step.path, step.path)
            first.append(step.path)
        else:
            if step.call == "open":
                called.pop(step.path, None)
            first.append(called.get(step.path, step.path))
    durable, since = [], []
    for i, step in enumerate(steps):
        if step.call in ("write", "ftruncate"):
            safe = any(steps[j].call == "fsync" and first[j] == first[i] for j in range(i + 1, len(steps)))
        elif step.call in ("open", "rename", "unlink"):
            # A file that is synced has its name, too, on the file systems that there are.
            safe = any(steps[j].call == "fsync" and (steps[j].path == "." or (step.call == "open" and first[j] == first[i]))
                       for j in range(i + 1, len(steps)))
        else:
            continue
        (durable if safe else since).append(i)
    return durable, since


def replay(start, steps):
    """The files of the directory, by name. None when the steps cannot have happened alone."""
    files = {name: bytearray(data) for name, data in start.items()}
    for step in steps:
        if step.call == "open":
            files.setdefault(step.path, bytearray())
        elif step.call == "rename":
            if step.path not in files:
                return None
            files[step.other] = files.pop(step.path)
        elif step.call == "unlink":
            files.pop(step.path, None)
        elif step.call in ("write", "ftruncate"):
            # Written before its name was known, or after it was taken away: it has no name to be found by.
            file = files.setdefault(step.path, bytearray())
            end = step.offset if step.call == "ftruncate" else step.offset + len(step.data)
            if len(file) < end:
                file.extend(bytes(end - len(file)))
            if step.call == "ftruncate":
                del file[step.offset:]
            else:
                file[step.offset:end] = step.data
    return {name: bytes(data) for name, data in files.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ivf", type=pathlib.Path)
    parser.add_argument("library", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", help="commands that hold these words")
    options = parser.parse_args()
    return Torture(options.ivf, options.library, options.every).torture(options.only)


if __name__ == "__main__":
    sys.exit(main())
