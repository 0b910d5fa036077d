#!/usr/bin/env python3
"""Pictures, tables and reports of benchmark records, the JSON lines that ivf bench and the sweeps write.

    scripts/plot.py draw runs.jsonl -o pictures       every picture that the records hold
    scripts/plot.py nq runs.jsonl -o pictures         one kind: nq, recall, maxcodes, history
    scripts/plot.py table runs.jsonl                  Markdown
    scripts/plot.py report runs.jsonl --env env.json -o report.html
    scripts/plot.py check                             is matplotlib there?

FILES are read together; without any, standard input. Exit codes: 0 done, 1 failed, 2 wrong input or request.
Needs matplotlib (scripts/setup.sh plot), except for table.
"""
import argparse
import os
import pathlib
import sys
import tempfile

from plotting import records, tables

SYSTEM_PYTHON = "/usr/bin/python3"
TRIED = "IVF_PLOT_TRIED_SYSTEM_PYTHON"


def drawing():
    """The module that draws. Debian's matplotlib belongs to the system's Python, which need not be the first on PATH."""
    try:
        from plotting import figures  # pylint: disable=import-outside-toplevel
        return figures
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
    if not os.environ.get(TRIED) and os.access(SYSTEM_PYTHON, os.X_OK):
        os.execve(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv], {**os.environ, TRIED: "1"})
    raise OSError("matplotlib is missing; run scripts/setup.sh plot")


def share(text):
    """5% or 0.05."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a share as in 5% or 0.05, found {text}") from error
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 to below 100%, found {text}")
    return value


def write(path, data, force):
    """The file appears whole, and none is replaced that --force does not allow to."""
    if path.exists() and not force:
        raise records.Problem(f"{path} exists; --force replaces it")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def command_draw(arguments):
    figures = drawing()
    wanted = None if arguments.command == "draw" else arguments.command
    styles = ("light", "dark") if arguments.style == "both" else (arguments.style,)
    files = {}
    for picture in figures.pictures(records.read(arguments.files), wanted):
        for style in styles:
            for kind, data in figures.render(picture, style, arguments.format, arguments.max_regress).items():
                files[arguments.out / f"{picture.name}-{style}.{kind}"] = data
    there = [path for path in files if path.exists()]
    if there and not arguments.force:
        raise records.Problem(f"{there[0]} exists; --force replaces it")
    for path, data in files.items():
        write(path, data, arguments.force)
        print(path)


def command_table(arguments):
    found = tables.tables(records.read(arguments.files), arguments.what)
    text = "\n".join(tables.markdown(table, arguments.level) for table in found)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        write(arguments.out, text.encode("utf-8"), arguments.force)


def command_report(arguments):
    figures = drawing()
    from plotting import report  # pylint: disable=import-outside-toplevel
    found = records.read(arguments.files)
    environment = report.read_environment(arguments.env) if arguments.env else None
    try:
        chosen = figures.pictures(found)
    except records.Problem:
        chosen = []  # Single measurements: tables alone.
    drawn = [(picture.title, *(figures.render(picture, style, ("svg",))["svg"] for style in ("light", "dark")))
             for picture in chosen]
    write(arguments.out, report.page(arguments.title, found, drawn, environment).encode("utf-8"), arguments.force)


def command_check(_):
    drawing()
    import matplotlib  # pylint: disable=import-outside-toplevel
    print(f"matplotlib {matplotlib.__version__} ({sys.executable})")


def formats(text):
    chosen = tuple(text.split(","))
    if not set(chosen) <= {"svg", "png"}:
        raise argparse.ArgumentTypeError(f"expected svg, png or svg,png; found {text}")
    return chosen


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, text, run):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("files", nargs="*", default=["-"], metavar="FILE",
                             help="records as JSON lines; - is standard input")
        command.add_argument("-f", "--force", action="store_true", help="replace files that exist")
        command.set_defaults(run=run)
        return command

    for name, text in (("draw", "Every picture that the records hold"), ("nq", "QPS by the number of queries (sweep-nq)"),
                       ("recall", "Recall against QPS, with the Pareto front (sweep-nprobe)"),
                       ("maxcodes", "QPS and recall by max_codes (sweep-maxcodes)"),
                       ("history", "The same measurements over time, with what became slower")):
        command = add(name, text, command_draw)
        command.add_argument("-o", "--out", type=pathlib.Path, default=pathlib.Path("."), metavar="DIR",
                             help="folder [.]")
        command.add_argument("--style", choices=("light", "dark", "both"), default="both", help="[both]")
        command.add_argument("--format", type=formats, default=("svg", "png"), help="svg, png or both [svg,png]")
        command.add_argument("--max-regress", type=share, default=0.05, metavar="SHARE",
                             help="history marks what became slower by more than this [5%%]")
    command = add("table", "Tables as Markdown", command_table)
    command.add_argument("--what", choices=("all", "search", "build"), default="all", help="[all]")
    command.add_argument("--level", type=int, choices=range(1, 7), default=3, help="level of the headings [3]")
    command.add_argument("-o", "--out", type=pathlib.Path, metavar="FILE", help="write to this file, not to standard output")
    command = add("report", "One HTML file with pictures, tables and environment", command_report)
    command.add_argument("-o", "--out", type=pathlib.Path, required=True, metavar="FILE", help="the HTML file")
    command.add_argument("--env", metavar="FILE", help="the environment that ivf dump-env wrote")
    command.add_argument("--title", default="Benchmarks of ivf", help="[Benchmarks of ivf]")
    command = commands.add_parser("check", help="Is matplotlib there? Exit code 1 when it is missing")
    command.set_defaults(run=command_check)
    return parser.parse_args(words)


def main(words=None):
    arguments = parse(words)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
        return 0
    except records.Problem as problem:
        print(f"plot: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"plot: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
