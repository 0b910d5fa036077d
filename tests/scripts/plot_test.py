#!/usr/bin/env python3
"""Pictures and the report. Exit code 77 where matplotlib is missing."""
import contextlib
import html.parser
import io
import json
import os
import re
import subprocess
import sys
import unittest
import xml.etree.ElementTree

from support import ENVIRONMENT, PLOT, RECORDS, ScriptTest, sample

SAMPLES = {"nq": ("sweep-nq", "qps-by-nq"), "recall": ("sweep-nprobe", "recall-against-qps"),
           "maxcodes": ("sweep-maxcodes", "max-codes"), "history": ("history", "history")}
FILES = [RECORDS / f"{name}.jsonl" for name, _ in SAMPLES.values()]


class Page(html.parser.HTMLParser):
    """What a page holds: elements that are open, identifiers, references."""
    VOID = {"meta", "br", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.tags, self.references = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            elif name in ("href", "src", "xlink:href", "srcset", "data", "action"):
                self.references.append(value)
            else:
                self.references += re.findall(r"url\(([^)]*)\)", value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes another element")


class Plot(ScriptTest):
    program = None

    def run_plot(self, *arguments, stdin=""):
        """As a process would answer, but within this one: loading matplotlib takes longer than drawing."""
        stdout, stderr = io.StringIO(), io.StringIO()
        before, sys.stdin, directory = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode())), os.getcwd()
        os.chdir(self.path)
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                code = self.program(list(map(str, arguments)))
        finally:
            os.chdir(directory)
            sys.stdin = before
        return code, stdout.getvalue(), stderr.getvalue()

    def texts(self, name):
        """The texts of an SVG file: matplotlib puts each into a comment before its outlines."""
        content = (self.path / name).read_text(encoding="utf-8")
        xml.etree.ElementTree.fromstring(content)
        return re.findall(r"<!-- (.*?) -->", content)

    def test_each_kind(self):
        for kind, (name, stem) in SAMPLES.items():
            with self.subTest(kind):
                written = self.plot(kind, RECORDS / f"{name}.jsonl", "-o", "p").split()
                self.assertEqual(sorted(written), sorted(f"p/{stem}-{style}.{form}" for style in ("light", "dark")
                                                         for form in ("svg", "png")))
                for file in written:
                    data = (self.path / file).read_bytes()
                    self.assertEqual(data[:5], b"<?xml" if file.endswith("svg") else b"\x89PNG\r")
                light, dark = (self.path / f"p/{stem}-{style}.svg" for style in ("light", "dark"))
                self.assertIn("#ffffff", light.read_text(encoding="utf-8"))
                self.assertIn("#0d1117", dark.read_text(encoding="utf-8"))
                texts = self.texts(f"p/{stem}-light.svg")
                self.assertIn("Queries per second (log)", texts)
                self.assertTrue(any(text.startswith("ivf auto, amx") for text in texts), texts)
                self.assertTrue(any(text.startswith("faiss 1.7.3") for text in texts), texts)

    def test_a_label_is_no_formula(self):
        records = [{**record, "label": f"$x_{record['search_mode']}"} for record in sample("sweep-nq")]
        records += sample("sweep-nq")
        self.plot("nq", self.write("x.jsonl", records), "--style", "light", "--format", "svg")
        self.assertIn("ivf auto, amx, $x_auto", self.texts("qps-by-nq-light.svg"))

    def test_one_style_and_one_format(self):
        self.assertEqual(self.plot("nq", FILES[0], "--style", "dark", "--format", "svg").split(), ["qps-by-nq-dark.svg"])

    def test_draw_finds_what_the_records_hold(self):
        written = self.plot("draw", *FILES, "--style", "light", "--format", "svg").split()
        self.assertEqual(sorted(written), [f"{stem}-light.svg" for stem in ("history", "max-codes", "qps-by-nq", "recall-against-qps")])

    def test_pictures_are_the_same_every_time(self):
        arguments = ("nq", FILES[0], "--style", "dark")
        first, second = self.plot(*arguments, "-o", "1").split(), self.plot(*arguments, "-o", "2").split()
        for one, other in zip(first, second):
            self.assertEqual((self.path / one).read_bytes(), (self.path / other).read_bytes(), one)
        self.assertNotIn("<dc:date>", (self.path / "1/qps-by-nq-dark.svg").read_text(encoding="utf-8"))

    def test_the_pareto_front_names_its_points(self):
        self.plot("recall", FILES[1], "--style", "light", "--format", "svg")
        texts = self.texts("recall-against-qps-light.svg")
        self.assertIn("Pareto front (numbers: nprobe)", texts)
        self.assertIn("Recall@10 against exact search", texts)
        self.assertLess({"1", "2", "4", "8", "16"}, set(texts))

    def test_history_marks_what_became_slower(self):
        self.plot("history", FILES[3], "--style", "light", "--format", "svg")
        texts = self.texts("history-light.svg")
        self.assertIn("slower by more than 5 %", texts)
        self.assertEqual([text for text in texts if re.fullmatch(r"[-+−]\d+ %", text)], ["-50 %"])
        self.assertTrue({"2026-02-16", "3333333ccc", "with prefetch"} <= set(texts), texts)
        self.plot("history", FILES[3], "--style", "light", "--format", "svg", "--max-regress", "60%", "-o", "lenient")
        self.assertNotIn("-50 %", self.texts("lenient/history-light.svg"))

    def test_no_picture_is_replaced_unasked(self):
        self.plot("nq", FILES[0], "--style", "dark", "--format", "svg")
        self.assertIn("qps-by-nq-dark.svg exists; --force replaces it", self.refused("nq", FILES[0]))
        self.assertEqual([entry.name for entry in self.path.iterdir()], ["qps-by-nq-dark.svg"])
        self.plot("nq", FILES[0], "--style", "dark", "--format", "svg", "--force")

    def test_what_cannot_be_drawn_is_said(self):
        self.assertIn("nothing to draw: recall needs records with recall", self.refused("recall", FILES[0]))
        self.assertIn("nothing to draw: history needs", self.refused("history", FILES[0]))
        one = self.write("one.jsonl", sample("sweep-nq")[:1])
        self.assertIn("nothing to draw", self.refused("draw", one))
        self.assertIn("nothing to draw: nq needs", self.refused("nq", one))
        self.assertIn("expected JSON", self.refused("draw", stdin="{"))
        self.assertEqual(list(self.path.glob("*.svg")), [])

    def test_the_report_needs_nothing_else(self):
        self.plot("report", *FILES, "--env", ENVIRONMENT, "-o", "r.html", "--title", "Fast & good")
        text = (self.path / "r.html").read_text(encoding="utf-8")
        page = Page(text)
        self.assertEqual(page.open, [])
        self.assertEqual((page.tags.count("svg"), page.tags.count("figure")), (8, 4))
        self.assertFalse({"script", "link", "img", "iframe"} & set(page.tags))
        self.assertTrue(page.references)
        self.assertEqual([name for name in page.references if not name.startswith("#")], [])
        self.assertEqual({name[1:] for name in page.references} - set(page.ids), set())
        self.assertEqual(len(page.ids), len(set(page.ids)))
        for word in ("http:", "https:", "@import", "url('", 'url("'):
            self.assertNotIn(word, text)
        self.assertIn("prefers-color-scheme: dark", text)
        self.assertIn("<h1>Fast &amp; good</h1>", text)
        self.assertIn("Example CPU", text)
        self.assertIn("environment_version", text)

    def test_a_report_of_single_measurements_has_tables_alone(self):
        one = self.write("one.jsonl", sample("sweep-nq")[:1])
        self.plot("report", one, "-o", "r.html")
        page = Page((self.path / "r.html").read_text(encoding="utf-8"))
        self.assertEqual((page.tags.count("svg"), page.tags.count("table")), (0, 2))

    def test_names_in_records_cannot_become_elements(self):
        records = [{**record, "label": f"<script>{index}", "host_cpu": "<b>"} for index, record in enumerate(sample("sweep-nq"))]
        self.plot("report", self.write("x.jsonl", records), "-o", "r.html")
        page = Page((self.path / "r.html").read_text(encoding="utf-8"))
        self.assertFalse({"script", "b"} & set(page.tags))

    def test_an_environment_that_is_none(self):
        (self.path / "env.json").write_text(json.dumps([1]), encoding="utf-8")
        self.assertIn("expected the JSON of ivf dump-env", self.refused("report", FILES[0], "--env", "env.json", "-o", "r.html"))
        self.assertIn("No such file", self.refused("report", FILES[0], "--env", "none.json", "-o", "r.html"))


if __name__ == "__main__":
    check = subprocess.run([sys.executable, PLOT, "check"], capture_output=True, text=True, check=False)
    if check.returncode != 0:
        print(check.stderr.strip().removeprefix("plot: "))
        sys.exit(77)
    # The program may have found matplotlib with another Python than this one: go on with that.
    python = re.search(r"\((.*)\)", check.stdout).group(1)
    if python != sys.executable:
        os.execv(python, [python, *sys.argv])
    sys.path.insert(0, str(PLOT.parent))
    import plot  # pylint: disable=wrong-import-position
    Plot.program = staticmethod(plot.main)
    unittest.main(verbosity=2)
