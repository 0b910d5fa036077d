#!/usr/bin/env python3
"""Completions of shells and manual pages: all that --help shows is in them, and the shells and man accept them."""
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import time

from support import IvfTest, main

# Where bash cuts words: its default.
WORDBREAKS = " \t\n\"'><=;|&(:"


def readline_words(line):
    """The words of a command line as bash hands them to a completion function."""
    return re.findall(r"[=:]+|(?:\\.|[^\s=:])+", line) + ([""] if line.endswith(" ") else [])


def quote(text):
    """For bash, zsh and fish, whose quotes differ only in what these tests do not need."""
    return "'" + text.replace("'", "'\\''") + "'"


class ShellTest(IvfTest):
    def require(self, tool):
        if shutil.which(tool) is None:
            self.skipTest(f"there is no {tool} here")

    def script(self, shell):
        path = self.path / f"completions.{shell}"
        path.write_bytes(self.ivf("completions", shell))
        return path

    def commands(self):
        return self.ivf("man", "--list").decode().split()

    def options(self, command):
        """The names of options as the command's help shows them, and of which a value follows."""
        for line in self.ivf(command, "--help").decode().splitlines():
            found = re.match(r" {2}(?:(-\w)(?:, )?|    )(--[\w-]+)?( [A-Z][\w|,.]*)?(?:  .*|$)", line)
            if found and (found[1] or found[2]):
                yield [name for name in (found[1], found[2]) if name], found[3] is not None

    def run_shell(self, *command, text=None):
        done = subprocess.run(command, cwd=self.path, input=text, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return done.stdout


class Bash(ShellTest):
    def complete(self, *lines):
        """What bash offers for each line: calls the completion function as readline does."""
        program = [f"source {self.script('bash')}", f"COMP_WORDBREAKS={quote(WORDBREAKS)}"]
        for line in lines:
            words = readline_words(line)
            quoted = " ".join(map(quote, words))
            program += [f"COMP_LINE={quote(line)} COMP_POINT={len(line)} COMP_CWORD={len(words) - 1} COMP_WORDS=({quoted})",
                        "_ivf; printf '%s\\n' \"${COMPREPLY[@]}\"; echo --"]
        offered = self.run_shell("bash", "--norc", "-u", text="\n".join(program)).split("--\n")[:-1]
        return [sorted(filter(None, each.split("\n"))) for each in offered]

    def test_syntax(self):
        self.run_shell("bash", "-n", str(self.script("bash")))

    def test_commands_options_and_files(self):
        (self.path / "base.fvecs").touch()
        (self.path / "my file.npy").touch()
        (self.path / "folder").mkdir()
        files = sorted(["base.fvecs", "completions.bash", "folder", "my file.npy"])
        cases = [
            ("ivf sear", ["search"]),
            ("ivf help dem", ["demo"]),
            ("ivf --threads 2 trai", ["train"]),
            ("ivf --threads trai", []),
            ("ivf --threads=2 -q trai", ["train"]),
            ("ivf nonsense ", []),
            ("ivf search --np", ["--nprobe"]),
            ("ivf search --nprobe ", []),
            ("ivf search --search-mode ", ["auto", "csr", "matrix"]),
            ("ivf search --search-mode=c", ["csr"]),
            ("ivf search --search-mode csr --search-mode m", ["matrix"]),
            ("ivf train base.fvecs -o x --metric ", ["cosine", "ip", "l2"]),
            ("ivf search a b --device c", ["cpu", "cuda"]),
            ("ivf search ", files),
            ("ivf search a.ivf ba", ["base.fvecs"]),
            ("ivf search a.ivf my\\ f", ["my file.npy"]),
            ("ivf search a.ivf b.npy more", []),
            ("ivf search -- ba", ["base.fvecs"]),
            ("ivf convert fvecs:ba", ["base.fvecs"]),
            ("ivf train x --out=ba", ["base.fvecs"]),
            ("ivf search a b -o ts", ["tsv:-"]),
            ("ivf search a b -o tsv:", ["-"] + files),
            ("ivf bench --library ", ["faiss", "ivf"]),
            ("ivf bench --library ivf,f", ["ivf,faiss"]),
            ("ivf bench --ann-benchmarks ", ["folder"]),
            ("ivf completions ", ["bash", "fish", "zsh"]),
            ("ivf man sweep-max", ["sweep-maxcodes"]),
        ]
        for (line, expected), offered in zip(cases, self.complete(*(line for line, _ in cases)), strict=True):
            self.assertEqual(offered, sorted(expected), line)

    def test_nothing_of_help_is_missing(self):
        commands = self.commands()
        asked = ["ivf "] + [f"ivf {command} -" for command in commands]
        offered = self.complete(*asked)
        self.assertEqual(offered[0], sorted(commands + ["help"]))
        for command, words in zip(commands, offered[1:], strict=True):
            names = sorted(name for names, _ in self.options(command) for name in names)
            self.assertGreater(len(names), 5)
            self.assertEqual(words, names, command)


class Zsh(ShellTest):
    def setUp(self):
        super().setUp()
        self.require("zsh")

    def test_syntax(self):
        self.run_shell("zsh", "-f", "-n", str(self.script("zsh")))

    def test_lines_are_completed(self):
        """Types into an interactive shell and presses the tabulator."""
        (self.path / "base.fvecs").touch()
        cases = [("completi\t", "completions"), ("search --npr\t", "search --nprobe"),
                 ("train --metric cos\t", "train --metric cosine"), ("train --metric=cos\t", "train --metric=cosine"),
                 ("search a.ivf ba\t", "search a.ivf base.fvecs"), ("bench --library ivf,fa\t", "bench --library ivf,faiss"),
                 ("search a b -o tsv\t", "search a b -o tsv:-"), ("man sweep-max\t", "man sweep-maxcodes"),
                 ("completions fi\t", "completions fish"), ("help dump\t", "help dump-env")]
        script = self.script("zsh")
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.path)
            os.environ.update(TERM="dumb", HOME=str(self.path), ZDOTDIR=str(self.path))
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.addCleanup(os.close, terminal)
        self.addCleanup(os.waitpid, child, 0)
        self.addCleanup(os.kill, child, signal.SIGKILL)
        # What would be run is printed instead.
        os.write(terminal, f"autoload -U compinit; compinit -u -D; source {script}\n".encode())
        os.write(terminal, b"ivf() { print -r -- \"GOT<${(j. .)@}>\" }\n")
        for typed, expected in cases:
            os.write(terminal, f"ivf {typed}\n".encode())
            got = self.read_until(terminal, r"(?m)^GOT<(.*?) *>\r?$")
            self.assertTrue(got.startswith(expected), (typed, got))

    def read_until(self, terminal, pattern):
        text = ""
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, text)):
            ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, text)
            text += os.read(terminal, 65536).decode(errors="replace")
        return found[1]


class Fish(ShellTest):
    def setUp(self):
        super().setUp()
        self.require("fish")
        self.environment = {**os.environ, "HOME": str(self.path), "XDG_CONFIG_HOME": str(self.path / "config")}

    def complete(self, line):
        command = f"source {self.script('fish')}; complete -C {quote(line)}"
        done = subprocess.run(["fish", "--no-config", "-c", command], cwd=self.path, env=self.environment, capture_output=True,
                              text=True, timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return sorted(each.split("\t")[0] for each in done.stdout.splitlines())

    def test_syntax(self):
        self.run_shell("fish", "--no-config", "-n", str(self.script("fish")))

    def test_lines_are_completed(self):
        (self.path / "base.fvecs").touch()
        (self.path / "folder").mkdir()
        for line, expected in [
                ("ivf ", sorted(self.commands() + ["help"])),
                ("ivf --threads 2 trai", ["train"]),
                ("ivf help dem", ["demo"]),
                ("ivf train --metric ", ["cosine", "ip", "l2"]),
                ("ivf train --metric=c", ["--metric=cosine"]),
                ("ivf search --nprobe ", []),
                ("ivf search a.ivf ba", ["base.fvecs"]),
                ("ivf search a b -o t", ["table:-", "tsv:-"]),
                ("ivf bench --library ivf,f", ["ivf,faiss"]),
                ("ivf bench --ann-benchmarks f", ["folder/"]),
                ("ivf completions ", ["bash", "fish", "zsh"]),
                ("ivf man sweep-max", ["sweep-maxcodes"]),
                ("ivf dump-env ba", []),
        ]:
            self.assertEqual(self.complete(line), expected, line)


class ManualPages(ShellTest):
    def page(self, *command):
        path = self.path / ("-".join(("ivf",) + command) + ".1")
        path.write_bytes(self.ivf("man", *command))
        return path

    def rendered(self, page):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(page)], capture_output=True, text=True,
                              env={**os.environ, "MANWIDTH": "80", "MANPAGER": "cat", "GROFF_NO_SGR": "1"}, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), page)
        return re.sub(r".\x08", "", done.stdout)

    def test_every_page_is_accepted_and_complete(self):
        self.require("man")
        pages = [()] + [(command,) for command in self.commands()]
        for command in pages:
            text = self.rendered(self.page(*command))
            for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
                self.assertRegex(text, rf"(?m)^{heading}$", command)
            for names, value in self.options(*command) if command else []:
                self.assertRegex(text, rf"(?m)^ +{', '.join(map(re.escape, names))}{' [A-Z]' if value else '( |$)'}", command)
        unbroken = re.sub(r"-\n +", "-", self.rendered(self.page()))
        for command in pages[1:]:
            self.assertIn(f"ivf-{command[0]}(1)", unbroken)

    def test_examples_can_be_copied(self):
        self.require("man")
        self.assertIn("ivf search base.ivf queries.npy -o jsonl:- | jq -c .ids\n", self.rendered(self.page("search")))
        self.assertIn("source <(ivf completions bash)\n", self.rendered(self.page("completions")))
        self.assertIn("> ~/.zfunc/_ivf\n", self.rendered(self.page("completions")))

    def test_mandoc_finds_no_errors(self):
        self.require("mandoc")
        for command in [(), *((command,) for command in self.commands())]:
            done = subprocess.run(["mandoc", "-Tlint", "-W", "error", str(self.page(*command))], capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, ""), command)


if __name__ == "__main__":
    main()
