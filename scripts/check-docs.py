#!/usr/bin/env python3
"""Checks the project's documents against the project: check-docs.py [IVF_EXECUTABLE]

- every relative link names a file that exists, and every anchor a heading of it;
- a code block below `<!-- file: PATH -->` is that file, word for word (and so compiled and run by the tests);
- every command in a block of shell commands that starts with ./scripts/ or datasets/ names a script that exists, and,
  with IVF_EXECUTABLE, every `ivf SUBCOMMAND --option` is one that the program's own help knows.
"""
import functools
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```", re.M | re.S)
SHELL = {"sh", "bash", "shell", "console"}


def documents():
    listed = subprocess.run(["git", "ls-files", "-z", "--", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def anchors(text):
    """The anchors of a document's headings, by the rule that forges use."""
    found = set()
    for heading in re.findall(r"^#{1,6} +(.*?) *#*$", FENCE.sub("", text), re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-"))
    return found


def check_links(path, text):
    prose = FENCE.sub("", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        if not other.exists():
            yield f"link to {target}: there is no such file"
        elif anchor and other.suffix == ".md" and anchor not in anchors(other.read_text(encoding="utf-8")):
            yield f"link to {target}: {other.name} has no such heading"


def check_quoted_files(_, text):
    for name, block in re.findall(r"<!-- file: (\S+) -->\n+```[\w-]*\n(.*?)^```", text, re.M | re.S):
        source = ROOT / name
        if not source.is_file():
            yield f"quotes {name}, which does not exist"
        elif source.read_text(encoding="utf-8").strip() != block.strip():
            yield f"the block that quotes {name} differs from it: copy the file again"


def commands(text):
    """The commands of the shell blocks, continued lines joined. In a console block they follow a `$ `."""
    for _, language, block in FENCE.findall(text):
        if language not in SHELL:
            continue
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            yield line.split(" #")[0]


@functools.lru_cache(maxsize=None)
def help_of(executable, subcommand):
    shown = subprocess.run([executable, *([subcommand] if subcommand else []), "--help"], capture_output=True, text=True,
                           check=False, timeout=60)
    return shown.stdout if shown.returncode == 0 else None


def check_invocation(executable, words):
    options = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    subcommand = words[0] if words and not words[0].startswith("-") else ""
    shown = help_of(executable, subcommand)
    if shown is None:
        yield f"ivf {subcommand}: the program has no such subcommand"
        return
    for option in options:
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown):
            yield f"ivf {subcommand} {option}: the program's help does not know this option"


def check_commands(executable, text):
    for command in commands(text):
        for part in re.split(r"\s*(?:&&|\|\||[|;])\s*", command):
            words = [word for word in part.split() if not re.match(r"[A-Z_]+=", word)]
            if words and words[0] in ("time", "sudo"):
                words = words[1:]
            if not words:
                continue
            script = re.match(r"(?:\./)?((?:scripts|datasets)/[\w.-]+)$", words[0])
            if script and not (ROOT / script[1]).is_file():
                yield f"`{part}`: there is no {script[1]}"
            if executable and re.fullmatch(r"(?:.*/)?ivf", words[0]):
                yield from check_invocation(executable, words[1:])


def main():
    executable = sys.argv[1] if len(sys.argv) > 1 else None
    if executable and not pathlib.Path(executable).is_file():
        print(f"check-docs: no program at {executable}; build it first")
        return 2
    problems = []
    paths = documents()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        for problem in [*check_links(path, text), *check_quoted_files(path, text), *check_commands(executable, text)]:
            problems.append(f"{path.relative_to(ROOT)}: {problem}")
    print("\n".join(problems) or f"check-docs: {len(paths)} documents in order")
    return 1 if problems or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
