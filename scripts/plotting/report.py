"""A report as one HTML file that needs nothing else: pictures inline, light or dark as the reader's system is."""
import html
import json
import pathlib
import re

from . import records as rec
from . import tables

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --faint: #d5d9de; --dim: #59636e; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --faint: #30363d; --dim: #9198a1; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
p, figcaption { color: var(--dim); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--faint); text-align: left; white-space: nowrap; }
.n { text-align: right; }
figure { margin: 1.5rem 0; }
figure svg { width: 100%; height: auto; }
.dark { display: none; }
@media (prefers-color-scheme: dark) { .dark { display: block; } .light { display: none; } }
pre { overflow-x: auto; border: 1px solid var(--faint); padding: .7rem; font-size: 12px; }
"""


def inline(svg, prefix, title):
    """An SVG file as an element of a page: without its XML head, with ids of its own, named for those who do not see it."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    # Namespaces are understood in a page without being declared, and are the only addresses in the file.
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text, count=0).replace("xlink:href=", "href=")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title, quote=True)}"', 1).strip()


def read_environment(name):
    """The object that `ivf dump-env` wrote."""
    try:
        environment = json.loads(pathlib.Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise rec.Problem(f"{name}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rec.Problem(f"{name}: expected the JSON of ivf dump-env; {getattr(error, 'msg', 'it is no JSON')}") from error
    if not isinstance(environment, dict) or "environment_version" not in environment:
        raise rec.Problem(f"{name}: expected the JSON of ivf dump-env; there is no environment_version in it")
    return environment


def environment_html(environment):
    cpu, isa, build = (environment.get(key) or {} for key in ("cpu", "isa", "build"))
    memory = (environment.get("memory") or {}).get("total_bytes")
    faiss = environment.get("faiss") or {}
    facts = [("CPU", environment.get("host_cpu")), ("Cores", cpu.get("cores")), ("Threads", environment.get("threads")),
             ("Instruction set", isa.get("used")), ("Memory", f"{memory / 2**30:.1f} GiB" if memory else None),
             ("System", environment.get("host_platform")),
             ("ivf", " ".join(str(build[key]) for key in ("ivf_version", "ivf_commit", "compiler", "flags") if build.get(key))),
             ("faiss", " ".join(str(faiss[key]) for key in ("version", "compile_options") if faiss.get(key))),
             ("Measured", environment.get("timestamp"))]
    rows = "\n".join(f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts if value)
    whole = html.escape(json.dumps(environment, indent=2, ensure_ascii=False))
    return (f"<h2>Environment</h2>\n<div class=wide><table>\n{rows}\n</table></div>\n"
            f"<details><summary>Everything that ivf dump-env found</summary><pre>{whole}</pre></details>\n")


def page(title, records, pictures, environment):
    """pictures: [(title, light SVG, dark SVG)]."""
    figures = []
    for number, (caption, light, dark) in enumerate(pictures, 1):
        flat = caption.replace("\n", ": ", 1)
        figures.append(f"<figure>\n<div class=light>{inline(light, f'l{number}', flat)}</div>\n"
                       f"<div class=dark>{inline(dark, f'd{number}', flat)}</div>\n"
                       f"<figcaption>{html.escape(flat)}</figcaption>\n</figure>\n")
    parts = [f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(tables.machine(records))}. Times are medians of the runs, "
             "with the quickest and the slowest run; QPS is queries per second.</p>\n"]
    if figures:
        parts += ["<h2>Pictures</h2>\n", *figures]
    parts += ["<h2>Tables</h2>\n", *(tables.as_html(table) for table in tables.tables(records))]
    if environment is not None:
        parts.append(environment_html(environment))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{html.escape(title)}</title>\n<style>{CSS}</style></head>\n<body>\n{''.join(parts)}</body></html>\n")
