#!/usr/bin/env python3
"""System calls fail and the power goes, in every command that writes: there is the old file or the new one, and no other.

    tests/torture/faults.py PATH/TO/ivf PATH/TO/libivf_file_calls.so [--every N]

Faults: each call by which a file is changed fails in turn (ENOSPC, EIO, once and for ever), writes are short and
interrupted. Power: the writes of a run are recorded; the disk after a crash holds, for every prefix of them, what was
made durable, and of the rest all, nothing, all but one, or one alone; the latest of them torn, within a sector or with
some of its sectors missing; and all of them in reverse order. After the end it holds the new state, though nothing but
what was made durable has reached it. Benchmark records are appended in place: what was there before stays, and of the new
lines a crash may leave a part. --every N tries only every Nth fault and crash.
"""
import argparse
import errno
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

TIMEOUT_S = 120
SECTOR = 512
SHORT_WRITE = 100
FAULTS = [
    ("open", errno.ENOSPC, False), ("write", errno.ENOSPC, True), ("write", errno.EIO, False), ("fsync", errno.EIO, False),
    ("fsync", errno.ENOSPC, True), ("rename", errno.EIO, False), ("ftruncate", errno.EIO, False), ("chmod", errno.EPERM, False),
    ("close", errno.EIO, False), ("allocate", errno.ENOSPC, False),
]


class Command:
    """A command, and the files that it makes or replaces.

    index: the output is an index that is changed in place; what a reader sees counts, not its bytes. between: numbers of
    rows that commits on the way leave. records: so many lines are appended to the output, in place. warns: what the command
    may say with exit code 0 when it did the first part of its work and not the second. scratch: it reads indexes so large that
    its working space is a file.
    """

    def __init__(self, words, *outputs, index=False, between=(), records=0, warns=None, scratch=False):
        self.words, self.outputs, self.index, self.between = words.split(), outputs, index, between
        self.records, self.warns, self.scratch = records, warns, scratch
        self.arguments = self.words + ["--threads", "1"] + ([] if warns else ["-q"])


BENCH = "--dataset base.fvecs --queries base.fvecs --nlist 4 --nprobe 2 --topk 3 --warmup 0 --repeat 1"
COMMANDS = [
    Command("train base.fvecs -o new.ivf --nlist 4", "new.ivf"),
    Command("train base.fvecs -o old.ivf --nlist 4 --force", "old.ivf"),
    Command("train base.fvecs -o new.ivf --nlist 4 --compress", "new.ivf"),
    Command("add a.ivf base.fvecs", "a.ivf", index=True),
    Command("add c.ivf base.fvecs", "c.ivf", index=True),
    Command("add a.ivf base.fvecs --ids replaced.txt --replace", "a.ivf", index=True),
    Command("add a.ivf base.fvecs --commit-every 100", "a.ivf", index=True, between=(400, 500)),
    Command("add holes.ivf base.fvecs --auto-compact 0.1", "holes.ivf", index=True, between=(500,),
            warns="the rows were added, but the index was not compacted"),
    Command("remove a.ivf --ids 0-99", "a.ivf", index=True),
    Command("remove c.ivf --ids 0-99", "c.ivf", index=True),
    Command("convert base.fvecs new.npy", "new.npy"),
    Command("convert base.fvecs old.fbin --force", "old.fbin"),
    Command("convert base.fvecs old.fvecs --force", "old.fvecs"),
    Command("convert base.fvecs new.h5", "new.h5"),
    Command("convert base.fvecs old.h5:more --force", "old.h5"),
    Command("search a.ivf base.fvecs -o new.tsv", "new.tsv"),
    Command("search a.ivf base.fvecs -o old.jsonl --force", "old.jsonl"),
    Command("search a.ivf base.fvecs -o new.ivecs --out-distances new.fvecs", "new.ivecs", "new.fvecs"),
    Command("search a.ivf base.fvecs -o new.h5", "new.h5"),
    Command("search a.ivf base.fvecs -o gt:new.gt", "new.gt"),
    Command("search a.ivf base.fvecs -o gt:-"),
    Command("search a.ivf base.fvecs --radius 3 -o new.jsonl", "new.jsonl"),
    Command("search a.ivf base.fvecs --radius 3 -o new.h5", "new.h5"),
    Command("merge-results one.tsv two.tsv -o new.tsv", "new.tsv"),
    Command("merge-results one.tsv two.tsv -o old.h5 --force", "old.h5"),
    Command("truth --base base.fvecs --queries base.fvecs -o old.npy --force", "old.npy"),
    Command("truth --base base.fvecs --queries base.fvecs -o new.h5 --with-vectors", "new.h5"),
    Command("truth --base base.fvecs --queries base.fvecs -o new.ivecs --out-distances new.fvecs", "new.ivecs", "new.fvecs"),
    Command("compact a.ivf --sort", "a.ivf"),
    Command("compact large.ivf --sort --max-memory 1M", "large.ivf", scratch=True),
    Command("compact c.ivf -o new.ivf --no-compress", "new.ivf"),
    Command("merge new.ivf a.ivf c.ivf --ids shift", "new.ivf"),
    Command("merge new.ivf large.ivf few.ivf --ids unique --max-memory 1M", "new.ivf", scratch=True),
    Command("merge a.ivf c.ivf a.ivf --ids keep --retrain --force", "a.ivf"),
    Command("split a.ivf --shards 2 --out new", "new-0.ivf", "new-1.ivf"),
    Command("export a.ivf --faiss new.faiss", "new.faiss"),
    Command("export a.ivf --faiss old.fbin --force", "old.fbin"),
    Command("export a.ivf --npy new", "new-centroids.npy", "new-offsets.npy", "new-ids.npy", "new-vectors.npy"),
    Command("export a.ivf --hdf5 new.h5", "new.h5"),
    Command("import --faiss a.faiss new.ivf", "new.ivf"),
    Command("import --faiss a.faiss old.ivf --force", "old.ivf"),
    Command("reconstruct a.ivf --ids 0-99 -o new.fvecs", "new.fvecs"),
    Command(f"bench {BENCH} --out new.records", "new.records", records=1),
    Command(f"bench {BENCH} --out old.records", "old.records", records=1),
    Command(f"sweep-nprobe {BENCH} --nprobe-list 1,2 --out old.records".replace("--nprobe 2 ", ""), "old.records", records=2),
]


class Reference:
    """A run without faults: the outputs before and after, what a reader saw of an index, all files before, the calls."""

    def __init__(self, before, after, start):
        self.before, self.after, self.start = before, after, start
        self.steps, self.stdout, self.old, self.new = [], b"", None, None


class Torture:
    def __init__(self, ivf, library, every):
        self.ivf, self.library, self.every = str(ivf.resolve()), str(library.resolve()), every
        self.faults = self.harmless = self.crashes = self.turn = 0
        self.failures = []

    def run(self, directory, arguments, env=None):
        # The temporary files of outputs that go to a pipe are to be seen, too.
        return subprocess.run([self.ivf, *arguments], cwd=directory, capture_output=True, timeout=TIMEOUT_S, check=False,
                              stdin=subprocess.DEVNULL,
                              env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": str(directory), **(env or {})})

    def preload(self, directory, **settings):
        return {"LD_PRELOAD": self.library, "IVF_FAULT_DIR": str(directory), **settings}

    def must(self, directory, words):
        done = self.run(directory, [*words.split(), "-q"])
        if done.returncode != 0:
            sys.exit(f"faults: ivf {words}: {done.stderr.decode()}")

    def prepare_large(self, directory):
        """As few bytes as need half of the least --max-memory for a key of 16 bytes a row."""
        self.must(directory, "train gaussian:n=100,d=1 -o large.ivf --nlist 2")
        shutil.copy(directory / "large.ivf", directory / "few.ivf")
        self.must(directory, "add large.ivf gaussian:n=40000,d=1")
        # Ids on both sides of the others', so that only sorting all of them tells whether any is there twice.
        (directory / "ids.txt").write_text("\n".join(["-2", *(str(40000 + i) for i in range(99))]), encoding="ascii")
        self.must(directory, "add few.ivf gaussian:n=100,d=1 --ids ids.txt")

    def prepare(self, directory):
        def must(words):
            self.must(directory, words)

        must("convert gaussian:n=300,d=6 base.fvecs")
        for name, options in (("a.ivf", ""), ("c.ivf", " --compress"), ("old.ivf", "")):
            must(f"train base.fvecs -o {name} --nlist 8{options}")
        must("add a.ivf base.fvecs")
        must("add c.ivf base.fvecs")
        shutil.copy(directory / "a.ivf", directory / "holes.ivf")
        must("remove holes.ivf --ids 0-99")
        must("export a.ivf --faiss a.faiss")
        must("search a.ivf base.fvecs -o one.tsv")
        must("search holes.ivf base.fvecs -o two.tsv")
        for name in ("old.fbin", "old.fvecs", "old.npy", "old.h5"):
            must(f"convert gaussian:n=20,d=3,seed=7 {name}")
        (directory / "old.jsonl").write_bytes(b"{}\n")
        (directory / "old.records").write_bytes(b'{"label":"old"}\n')
        # Half of them are there already.
        (directory / "replaced.txt").write_text("\n".join(str(150 + i) for i in range(300)), encoding="ascii")

    def fail(self, command, what, why):
        self.failures.append(f"ivf {' '.join(command.words)}: {what}: {why}")
        print("faults: " + self.failures[-1], flush=True)

    def contents(self, command, directory):
        return [(directory / name).read_bytes() if (directory / name).exists() else None for name in command.outputs]

    def seen(self, command, directory):
        """What a reader finds in the index: rows, removed rows and generation. Text when it is not sound."""
        done = self.run(directory, ["verify", command.outputs[0], "--json"])
        if done.returncode != 0:
            return done.stderr.decode().strip()
        found = json.loads(done.stdout)
        return found["nb"], found["removed"], found["generation"]

    def state(self, command, directory, reference):
        """Whether the outputs are the old ones or the new ones, all of them; a word for anything else."""
        found = self.contents(command, directory)
        if found == reference.after:
            return "new"
        if found == reference.before:
            return "old"
        if command.records:
            return records_state(command, found[0], reference.before[0])
        if not command.index:
            return "mixed"
        # An index may have leftovers of a writer past its end: what counts is what a reader sees.
        seen = self.seen(command, directory)
        if isinstance(seen, str):
            return "broken: " + seen
        if seen == reference.new:
            return "new"
        if seen == reference.old:
            return "old"
        return "between" if seen[0] in command.between and seen[2] > reference.old[2] else f"mixed: {seen}"

    def reference(self, command, base):
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            directory = pathlib.Path(name).resolve() / "work"
            shutil.copytree(base, directory)
            log = directory.parent / "log"
            before = self.contents(command, directory)
            start = {path.name: path.read_bytes() for path in directory.iterdir()}
            old = self.seen(command, directory) if command.index else None
            done = self.run(directory, command.arguments, self.preload(directory, IVF_FAULT_LOG=str(log)))
            if done.returncode != 0:
                sys.exit(f"faults: ivf {' '.join(command.words)}: {done.stderr.decode()}")
            reference = Reference(before, self.contents(command, directory), start)
            if None in reference.after or (command.outputs and reference.after == before):
                sys.exit(f"faults: ivf {' '.join(command.words)}: writes nothing to {', '.join(command.outputs)}")
            reference.old, reference.stdout = old, done.stdout
            if command.index:
                reference.new = self.seen(command, directory)
                if reference.new == old or isinstance(reference.new, str):
                    sys.exit(f"faults: ivf {' '.join(command.words)}: {old} became {reference.new}")
            reference.steps = read_log(log, directory) if log.exists() else []
            if command.scratch and not {"scratch", "allocate"} <= {step.call for step in reference.steps}:
                sys.exit(f"faults: ivf {' '.join(command.words)}: its working space was not in a file")
            if not any(step.call == "write" for step in reference.steps):
                sys.exit(f"faults: ivf {' '.join(command.words)}: no write was recorded")
            return reference

    def fault(self, command, base, reference, call, number, error, ever, short=False):
        """One run. False when the call was never made."""
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            directory = pathlib.Path(name).resolve() / "work"
            shutil.copytree(base, directory)
            names = {path.name for path in directory.iterdir()}
            log = directory.parent / "log"
            settings = {"IVF_FAULT_LOG": str(log)}
            if short:
                settings["IVF_FAULT_SHORT"] = str(SHORT_WRITE)
            else:
                settings["IVF_FAULT"] = f"{call}:{number}:{error}" + (":ever" if ever else "")
            done = self.run(directory, command.arguments, self.preload(directory, **settings))
            steps = read_log(log, directory) if log.exists() else []
            failed = [at for at, step in enumerate(steps) if step.failed]
            if not failed and not short:
                return False
            self.faults += 1
            what = "short writes" if short else f"{call} number {number} failing with {errno.errorcode[error]}{' for ever' if ever else ''}"
            stderr = done.stderr.decode(errors="replace")
            state = self.state(command, directory, reference)
            said = command.warns is not None and command.warns in stderr
            allowed = {"new"} if done.returncode == 0 else {"old", "new"}
            if command.between and (done.returncode != 0 or said):
                allowed.add("between")
            if state not in allowed:
                self.fail(command, what, f"exit code {done.returncode}, and the outputs are {state}")
            if done.returncode == 0 and not command.records and done.stdout != reference.stdout:
                self.fail(command, what, "exit code 0, and other bytes on standard output")
            if short:
                self.check_short(command, reference, done, steps)
            elif done.returncode not in (0, 1):
                self.fail(command, what, f"exit code {done.returncode}: {stderr}")
            if done.returncode == 1 and (not stderr.startswith("ivf: error: ") or stderr.count("\n") != 1):
                self.fail(command, what, f"expected one line of error, found {stderr!r}")
            if done.returncode == 0 and not short and not said:
                self.harmless += 1
                # All that may fail unnoticed is what comes after everything is durable, and cleaning up; and a file that
                # was then opened in another way (the HDF5 library does).
                opened = call == "open" and any(step.call in ("open", "create") and step.path == steps[failed[0]].path
                                                for step in steps[failed[0] + 1:])
                if call not in ("close", "ftruncate") and not opened:
                    self.fail(command, what, "went unnoticed")
            left = {path.name for path in directory.iterdir()} - names - set(command.outputs)
            if left:
                self.fail(command, what, f"left behind: {sorted(left)}")
            if call == "fsync" and not ever and any(
                    step.call == "fsync" and step.path == steps[failed[0]].path for step in steps[failed[0] + 1:]):
                self.fail(command, what, "a failed fsync was tried again")
            return True

    def check_short(self, command, reference, done, steps):
        if done.returncode != 0:
            self.fail(command, "short writes", f"exit code {done.returncode}: {done.stderr.decode(errors='replace')}")
        # Nothing is shown where every write was short enough by itself.
        if any(len(step.data) > SHORT_WRITE for step in reference.steps) and not any(step.outcome == "short" for step in steps):
            self.fail(command, "short writes", "no write was cut short")
        if not any(step.outcome == "interrupted" for step in steps):
            self.fail(command, "short writes", "no write was interrupted")

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

    def power(self, command, reference):
        # What has no name is not found again.
        steps = [step for step in reference.steps if not step.path.endswith(" (deleted)") and step.outcome != "interrupted"]
        seen = set()
        for at, (end, kept) in enumerate(self.crash_states(steps)):
            if at % self.every and 0 < end < len(steps):
                continue
            files = replay(reference.start, kept)
            if files is None:
                continue  # A rename of what was never made: no order of the disk gives that.
            picture = tuple(files.get(name) for name in command.outputs)
            self.crashes += 1
            # Two renames are two moments: a crash may come between them, and each file is then the old or the new one.
            if picture in seen or all(found in (old, new) for found, old, new in zip(picture, reference.before, reference.after)):
                continue
            seen.add(picture)
            state = self.state_of(command, files, reference)
            if state not in ("old", "new", "between"):
                self.fail(command, f"power loss after {end} of {len(steps)} calls with {len(kept)} on disk", state)
        if self.state_of(command, replay(reference.start, steps), reference, exactly=True) != "new":
            self.fail(command, "replay of all calls", "is not what the run wrote: the recording misses something")
        durable, _ = split_durable(steps)
        kept = replay(reference.start, [steps[i] for i in durable])
        state = "of no order of calls" if kept is None else self.state_of(command, kept, reference)
        if state != "new":
            self.fail(command, "power loss after exit code 0", f"what was reported as done is not durable: the state is {state}")

    def state_of(self, command, files, reference, exactly=False):
        """The state that the files of a crash show; `exactly`: byte by byte."""
        found = [files.get(name) for name in command.outputs]
        if found == reference.after:
            return "new"
        if exactly or None in found:
            return "old" if found == reference.before else "mixed"
        if command.records:
            # Appended in place: a crash may leave any part of the lines, but not touch what was there before.
            return "between" if found[0].startswith(reference.before[0] or b"") else "mixed"
        if not command.index:
            return "old" if found == reference.before else "mixed"
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            directory = pathlib.Path(name)
            for output, data in zip(command.outputs, found):
                (directory / output).write_bytes(data)
            return self.state(command, directory, reference)

    def fault_all(self, command, base, reference):
        """Every call fails in turn; with --every N every Nth of all those of all commands."""
        for call, error, ever in FAULTS:
            made = sum(step.call == call or (call == "open" and step.call in ("create", "scratch"))
                       for step in reference.steps if step.outcome != "interrupted")
            for number in range(made):
                self.turn += 1
                if self.turn % self.every:
                    continue
                if not self.fault(command, base, reference, call, number, error, ever):
                    # A process and its helper count by themselves, from where the helper began.
                    if number == 0:
                        self.fail(command, call, "was made in one run, and not in the next")
                    break

    def torture(self, only):
        with tempfile.TemporaryDirectory(prefix="ivf-faults-") as name:
            bases = {scratch: pathlib.Path(name) / f"base-{scratch}" for scratch in (False, True)}
            for base in bases.values():
                base.mkdir()
            self.prepare(bases[False])
            self.prepare_large(bases[True])
            commands = [command for command in COMMANDS if only in " ".join(command.words)]
            for at, command in enumerate(commands):
                base = bases[command.scratch]
                reference = self.reference(command, base)
                if command.outputs:
                    self.power(command, reference)
                if at % min(self.every, 4) == 0:
                    self.fault(command, base, reference, "write", 0, 0, False, short=True)
                self.fault_all(command, base, reference)
        print(f"faults: {len(commands)} commands, {self.faults} faults injected ({self.harmless} harmless), "
              f"{self.crashes} crashes replayed, {len(self.failures)} failures")
        return 1 if self.failures or self.faults == 0 or self.crashes == 0 else 0


def records_state(command, found, before):
    """Of a file of records: whether it is the old one with so many whole lines more."""
    before = before or b""
    if found is None or not found.startswith(before):
        return "mixed"
    lines = found[len(before):].split(b"\n")
    if lines.pop() != b"" or len(lines) != command.records:
        return "mixed"
    return "new" if all("search_ms" in json.loads(line) for line in lines) else "mixed"


class Step:
    def __init__(self, call, outcome, path, other, offset, data):
        self.call, self.outcome, self.path, self.other, self.offset, self.data = call, outcome, path, other, offset, data
        self.failed = outcome == "failed"


def read_log(path, directory):
    """The calls on files of the directory, by their names in it."""
    steps = []
    prefix = str(directory) + "/"
    with open(path, "rb") as log:
        while line := log.readline():
            call, outcome, name, other, offset, size = line.decode().rstrip("\n").split("\t")
            data = log.read(int(size))
            steps.append(Step(call, outcome, name.removeprefix(prefix), other.removeprefix(prefix), int(offset), data))
            if name == str(directory):
                steps[-1].path = "."
    return steps


def torn(step):
    """What a write may leave behind that did not come to its end: lists of smaller writes."""
    def piece(begin, end):
        return Step("write", "done", step.path, "", step.offset + begin, step.data[begin:end])

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
            if step.call == "create":
                called.pop(step.path, None)
            first.append(called.get(step.path, step.path))
    durable, since = [], []
    for i, step in enumerate(steps):
        if step.call in ("write", "ftruncate"):
            safe = any(steps[j].call == "fsync" and first[j] == first[i] for j in range(i + 1, len(steps)))
        elif step.call in ("create", "rename", "unlink"):
            # A file that is synced has its name, too, on the file systems that there are.
            safe = any(steps[j].call == "fsync" and (steps[j].path == "." or (step.call == "create" and first[j] == first[i]))
                       for j in range(i + 1, len(steps)))
        else:
            continue
        (durable if safe else since).append(i)
    return durable, since


def replay(start, steps):
    """The files of the directory, by name. None when the steps cannot have happened alone."""
    files = {name: bytearray(data) for name, data in start.items()}
    for step in steps:
        if step.call == "create":
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
