#!/usr/bin/env python3
"""Runs docs/tutorial.md: every command of its console blocks, in order, in one shell and one empty directory.

    tests/scripts/tutorial_test.py build/apps/ivf              compare what is printed with what the tutorial shows
    tests/scripts/tutorial_test.py build/apps/ivf --update     write what is printed into the tutorial, where it differs
    tests/scripts/tutorial_test.py build/apps/ivf --all        write all of it, and the pictures: all figures are of one run

In a block of ```console, "$ " starts a command, which goes on in the next line behind a backslash or in open quotes, and the
lines below are what it prints: standard output, then standard error. Times and rates are compared as tests/cli/transcript.py does. A command
may fail only where the next one is `echo $?`. A comment above a block says what does not hold for it:

    <!-- not run: WHY -->           nothing of it is run; only these may be blocks of sh
    <!-- output varies: WHY -->     run, but what it prints is not compared
    <!-- needs matplotlib -->       left out where scripts/plot.py finds none

Exit code 77 where a program that the tutorial uses is missing.
"""
import argparse
import dataclasses
import difflib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from support import PLOT, ROOT

sys.path.insert(0, str(ROOT / "tests" / "cli"))
import transcript  # noqa: E402  pylint: disable=wrong-import-position

TUTORIAL = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "pictures"
PROGRAMS = ("jq", "socat", "sqlite3")
TIMEOUT_S = 500
MARK = re.compile(r"<!-- (not run|output varies|needs matplotlib)(?:: (.+))? -->")

# What differs between machines and runs in the tables of bench and the sweeps, behind transcript.py's own.
TABLES = [
    (r" {2,}", "  "),
    (r"\bauto \(\w+\)", "auto (MODE)"),
    (r"\b\d+ threads?, \w+$", "THREADS, ISA"),
    (r"  [\d,.]+ %  [\d,.]+", "  SPREAD  RATE"),
]


@dataclasses.dataclass
class Command:
    """A command of the tutorial, where it stands, and what is to be printed."""
    text: str
    line: int
    shown: list
    varies: bool


class Mistake(Exception):
    """The tutorial is not written as it should be."""


def parse(lines):
    """The parts of the document, commands between texts, and what is not run: (line, why)."""
    parts, left_out = [], []
    drawing = subprocess.run([sys.executable, PLOT, "check"], capture_output=True, check=False).returncode == 0
    mark, number = None, 0
    while number < len(lines):
        line = lines[number]
        number += 1
        parts.append(line)
        fence = re.fullmatch(r"```(\w+)", line)
        if not fence:
            mark = MARK.fullmatch(line) or (mark if not line else None)
            continue
        kind = mark[1] if mark else ""
        runs = fence[1] == "console" and kind != "not run" and (drawing or kind != "needs matplotlib")
        if fence[1] in ("sh", "bash", "shell") and kind != "not run":
            raise Mistake(f"line {number}: only blocks of console are run; say <!-- not run: WHY --> above another")
        if not runs and mark:
            left_out.append((number, mark[2] or "matplotlib is missing"))
        while lines[number] != "```":
            line = lines[number]
            number += 1
            if not runs:
                parts.append(line)
            elif line.startswith("$ "):
                first = number
                while line.endswith("\\") or line.count("'") % 2:
                    line += "\n" + lines[number]
                    number += 1
                parts.append(Command(line[2:], first, [], kind == "output varies"))
            elif isinstance(parts[-1], Command):
                parts[-1].shown.append(line)
            else:
                raise Mistake(f"line {number}: output above the first command")
        parts.append(lines[number])
        number += 1
        mark = None
    return parts, left_out


def run(commands, ivf, pictures):
    """What each command printed, as lines, and its exit code. All run in one shell, as they would for a reader."""
    with tempfile.TemporaryDirectory(prefix="ivf-tutorial-") as name:
        directory = pathlib.Path(name).resolve()
        work, environment = transcript.surroundings(directory, ivf)
        script = directory / "script"
        script.write_text("".join(
            f"{{ {command.text}\n}} >{directory}/{number}.stdout 2>{directory}/{number}.stderr </dev/null\n"
            f"code=$?; echo $code >{directory}/{number}.code; (exit $code)\n"
            for number, command in enumerate(commands)), encoding="utf-8")
        shell = subprocess.Popen(["bash", script], cwd=work, env={**environment, "CHECKOUT": str(ROOT)}, start_new_session=True)
        try:
            shell.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"not done after {TIMEOUT_S} s")
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)  # Whatever it left running in the background.
            except ProcessLookupError:
                pass
            shell.wait()
        results = []
        for number in range(len(commands)):
            if not (directory / f"{number}.code").exists():
                break
            printed = "".join((directory / f"{number}.{stream}").read_bytes().decode("utf-8", "backslashreplace")
                              for stream in ("stdout", "stderr"))
            results.append((printed.replace(str(directory), "DIR").splitlines(),
                            int((directory / f"{number}.code").read_text(encoding="ascii"))))
        if pictures:
            for path in sorted((work / "pictures").glob("*.svg")):
                shutil.copyfile(path, PICTURES / f"tutorial-{path.name}")
                print(f"{PICTURES.relative_to(ROOT)}/tutorial-{path.name}: written")
        return results


def normalise(lines):
    """The lines without what differs between machines and runs."""
    after = []
    for line in transcript.normalise("\n".join(lines), "DIR").split("\n"):
        if "TIME" in line or "queries/s" in line or line.endswith(("amx", "avx512", "avx512bf16", "avx2", "neon", "scalar")):
            for pattern, word in TABLES:
                line = re.sub(pattern, word, line)
        after.append(line)
    return after


def judge(commands, results, update, everything):
    """How many commands did something else than the tutorial says."""
    different = 0
    for number, (command, (printed, code)) in enumerate(zip(commands, results)):
        place = f"{TUTORIAL.name}:{command.line}: $ {command.text}"
        following = commands[number + 1].text if number + 1 < len(commands) else ""
        if code != 0 and following != "echo $?":
            print(f"{place}\n   exit code {code}", *printed, sep="\n   ")
            different += 1
        elif not command.varies and normalise(printed) != normalise(command.shown) and not update:
            print(f"{place}\n   prints something else (< tutorial, > now)")
            for line in difflib.unified_diff(normalise(command.shown), normalise(printed), "<", ">", lineterm="", n=2):
                print("   " + line)
            different += 1
        elif everything or not command.shown or normalise(printed) != normalise(command.shown) and not command.varies:
            command.shown = printed
    if len(results) < len(commands):
        print(f"{TUTORIAL.name}:{commands[len(results)].line}: $ {commands[len(results)].text}\n   did not end")
        different += 1
    return different


def render(parts):
    lines = []
    for part in parts:
        lines += [f"$ {part.text}", *part.shown] if isinstance(part, Command) else [part]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("ivf", type=pathlib.Path, help="the program under test")
    parser.add_argument("--update", action="store_true", help="write what is printed into the tutorial, where it differs")
    parser.add_argument("--all", action="store_true", help="write all that is printed, and the pictures that are drawn")
    options = parser.parse_args()
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        print(f"missing: {', '.join(missing)}; scripts/setup.sh test installs them")
        return 77
    try:
        parts, left_out = parse(TUTORIAL.read_text(encoding="utf-8").split("\n"))
    except Mistake as mistake:
        print(f"{TUTORIAL.name}: {mistake}")
        return 1
    commands = [part for part in parts if isinstance(part, Command)]
    update = options.update or options.all
    different = judge(commands, run(commands, options.ivf.resolve(), options.all), update, options.all)
    if update:
        TUTORIAL.write_text(render(parts), encoding="utf-8")
    for line, why in left_out:
        print(f"{TUTORIAL.name}:{line}: not run: {why}")
    print(f"{len(commands)} commands run, {different} differ; {len(left_out)} blocks not run")
    return 1 if different or not commands else 0


if __name__ == "__main__":
    sys.exit(main())
