#!/usr/bin/env python3
"""Runs transcripts of the command line and compares what is printed, on which stream, and the exit code.

    tests/cli/transcript.py --ivf build/apps/ivf tests/cli/cases/*.transcript     compare
    tests/cli/transcript.py --ivf build/apps/ivf --update tests/cli/cases/*...    write what happens into the files

A transcript is a text file:

    # Words for the reader.
    $ ivf info missing.ivf
    ! ivf: error: cannot open 'missing.ivf': No such file or directory
    ? 1

"$ " is a command for bash, "| " a line of its stdout, "! " a line of its stderr, "? " its exit code when that is not 0.
All commands of a file run one after the other in one empty directory, in which $GOLDEN names tests/golden. What differs
between machines and runs (times, rates, versions, the directory), and what only says how a search went about its work,
is replaced by a word, see NORMAL.
"""
import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

TIMEOUT_S = 120

# What is replaced in output, in this order.
NORMAL = [
    (r"\bivf \d+\.\d+\.\d+ \(commit [^)]*\)", "ivf VERSION"),
    (r'("(?:\w+_ms|qps)":)[-+.\de]+', r"\1TIME"),
    (r'("isa":)"\w+"', r'\1"ISA"'),
    (r'("threads":)\d+', r"\1THREADS"),
    (r"\b\d+ min \d+ s\b|\b[\d.]+(?:e[-+]\d+)? m?s\b", "TIME"),
    (r"\b[\d,]+ a second\b", "RATE a second"),
    (r" {2,}TIME$", "  TIME"),
    (r"(machine runs )\([^)]*\)", r"\1(LEVELS)"),
    (r'("(?:rows_scanned|rows_refined|auto_threshold)":)[\d.]+', r"\1N"),
    (r'("chosen_mode":)"\w+"', r'\1"MODE"'),
    (r"\b(csr|matrix) mode, cpu, \w+, \d+ threads?;", "MODE mode, cpu, ISA, THREADS;"),
    (r"; [\d,]+ rows scanned and [\d,]+ computed exactly; ms: coarse .*", "; COUNTS; ms: TIMES"),
]


def normalise(text, directory):
    text = text.replace(str(directory), "DIR")
    lines = text.split("\n")
    for pattern, word in NORMAL:
        lines = [re.sub(pattern, word, line) for line in lines]
    return "\n".join(lines)


def prefixed(mark, text):
    if not text:
        return []
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    else:
        lines[-1] += "\\"  # No newline at the end.
    return [f"{mark} {line}" if line else mark for line in lines]


def run_command(command, directory, environment):
    """The lines of a transcript that the command makes."""
    try:
        done = subprocess.run(["bash", "-c", command], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return [f"? none after {TIMEOUT_S} s"]
    stdout = normalise(done.stdout.decode("utf-8", "backslashreplace"), directory)
    stderr = normalise(done.stderr.decode("utf-8", "backslashreplace"), directory)
    lines = prefixed("|", stdout) + prefixed("!", stderr)
    if done.returncode != 0:
        lines.append(f"? {done.returncode}")
    return lines


def surroundings(directory, ivf):
    """An empty directory to work in, and an environment in which the program is on PATH."""
    tools = directory / "bin"
    tools.mkdir()
    (tools / "ivf").symlink_to(ivf)
    work = directory / "work"
    work.mkdir()
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "LC_ALL": "C", "HOME": str(work), "TERM": "dumb", "TMPDIR": str(directory),
        "GOLDEN": str(pathlib.Path(__file__).resolve().parent.parent / "golden"),
    }
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return work, environment


def play(path, ivf):
    """(lines of the file, lines as they should be)."""
    before = path.read_text(encoding="utf-8").split("\n")
    after = []
    with tempfile.TemporaryDirectory(prefix="ivf-cli-") as name:
        directory = pathlib.Path(name).resolve()
        work, environment = surroundings(directory, ivf)
        for line in before:
            if line[:2] in ("| ", "! ", "? ") or line in ("|", "!"):
                continue  # Written anew by the command above.
            after.append(line)
            if line.startswith("$ "):
                after += run_command(line[2:], work, environment)
    return before, after


def report(path, before, after):
    print(f"{path}: differs from what happens now (< expected, > found)")
    for line in difflib.unified_diff(before, after, "expected", "found", lineterm="", n=4):
        print("   " + line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ivf", required=True, type=pathlib.Path, help="the program under test")
    parser.add_argument("--update", action="store_true", help="write what happens into the files")
    parser.add_argument("cases", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    ivf = options.ivf.resolve()
    if not os.access(ivf, os.X_OK):
        parser.error(f"{ivf} is no program")
    different = 0
    for path in options.cases:
        before, after = play(path, ivf)
        if not any(line.startswith("$ ") for line in before):
            print(f"{path}: holds no command")
            different += 1
        elif before != after and options.update:
            path.write_text("\n".join(after), encoding="utf-8")
            print(f"{path}: updated")
        elif before != after:
            report(path, before, after)
            different += 1
    if different:
        print(f"{different} of {len(options.cases)} differ; --update takes them over when they are right")
        return 1
    print(f"{len(options.cases)} transcripts agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
