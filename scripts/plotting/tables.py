"""Tables of records, as Markdown and as HTML from the same rows: speed and recall of searches, times of training and adding."""
import dataclasses
import html
import json
import statistics

from . import records as rec

COMMANDS = {"sweep-nq": ("nq", "QPS by nq"), "sweep-nprobe": ("nprobe", "Recall and QPS by nprobe"),
            "sweep-maxcodes": ("max_codes", "QPS and recall by max_codes"), "bench": ("nq", "Single measurements")}


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    heads: tuple
    # Cells of text; which columns hold numbers.
    rows: list
    numeric: tuple


def quantity(value):
    """Three or four significant digits, as a person would write them."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def milliseconds(runs):
    """The median, with the least and the most where there are several."""
    median = quantity(statistics.median(runs))
    return median if len(runs) == 1 else f"{median} ({quantity(min(runs))} – {quantity(max(runs))})"


def recall(value):
    return "" if value is None else f"{value:.4f}"


def speedup(point):
    """How many times as fast as the library that took turns; with several records, that of the latest."""
    record = point.latest
    if record["speedup"] is None or record["library"] != "ivf":
        return ""
    low, high = record["speedup_low"], record["speedup_high"]
    interval = f" ({quantity(low)} – {quantity(high)})" if low is not None and high is not None else ""
    return quantity(record["speedup"]) + interval


def value(x, number):
    return "no limit" if x == "max_codes" and number == 0 else f"{number:,}"


def search_tables(records):
    """One table for each setting and command, a row for each point."""
    for command, (x, name) in COMMANDS.items():
        chosen = [record for record in records if record["command"] == command]
        for group in rec.group(chosen, (x,)) if chosen else []:
            yield search_table(f"{name}: {group.title}", x, group)


def search_table(title, x, group):
    rows = []
    for line in rec.lines(group.records, x):
        for point in line.points:
            rows.append((point.x, [value(x, point.x), line.name, quantity(point.qps), milliseconds(point.runs),
                                   recall(point.mean("recall_at_k")), recall(point.mean("recall_at_k_vs_unlimited")),
                                   speedup(point)]))
    rows = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    others = {record["speedup_vs"] for record in group.records if record["library"] == "ivf" and record["speedup_vs"]}
    other = f"times {' / '.join(sorted(others))} (95 %)" if others else "times the other"
    heads = [x, "library", "QPS", "ms a batch (min – max)", f"recall@{group.setting['topk']}", "recall vs no limit", other]
    return without_empty(Table(title, tuple(heads), rows, (0, 2, 3, 4, 5, 6)))


def without_empty(table):
    """Without the columns that no row fills."""
    kept = [column for column in range(len(table.heads)) if any(row[column] for row in table.rows)]
    return Table(table.title, tuple(table.heads[column] for column in kept),
                 [[row[column] for column in kept] for row in table.rows],
                 tuple(kept.index(column) for column in table.numeric if column in kept))


BUILD = ("dataset", "nb", "dim", "metric", "dtype", "seed", "nlist", "train_n")


def build_tables(records):
    """One table of all trainings and additions. The records of a sweep share one index: it counts once."""
    built = [record for record in records if record["train_ms_runs"]]
    settings = {}
    for record in sorted(built, key=rec.library_order):
        settings.setdefault(tuple(record[key] for key in BUILD), []).append(record)
    rows = []
    for setting in sorted(settings, key=lambda s: (rec.data_name(s[0]), json.dumps(s))):
        dataset, nb, dim, metric, _, _, nlist, train_n = setting
        for name, (train, add) in build_times(settings[setting]).items():
            rows.append([f"{rec.data_name(dataset)} {nb:,} × {dim}, {metric}", f"{nlist:,}",
                         "" if train_n is None else f"{train_n:,}", name, milliseconds(train), milliseconds(add) if add else ""])
    if rows:
        yield Table("Training and adding",
                    ("data", "nlist", "rows trained on", "library", "train ms (min – max)", "add ms (min – max)"), rows, (1, 2, 4, 5))


def build_times(records):
    """Times of training and of adding, by who did it. Modes of search do not matter for what was built before them."""
    names = rec.line_names(records)
    times, seen = {}, set()
    for record in records:
        name = names[tuple(record[key] for key in rec.LINE)].replace(f"ivf {record['search_mode']}", "ivf")
        runs = (name, tuple(record["train_ms_runs"]), tuple(record["add_ms_runs"]))
        if runs not in seen:
            seen.add(runs)
            train, add = times.setdefault(name, ([], []))
            train.extend(record["train_ms_runs"])
            add.extend(record["add_ms_runs"])
    return times


def tables(records, what="all"):
    found = []
    if what in ("all", "search"):
        found += search_tables(records)
    if what in ("all", "build"):
        found += build_tables(records)
    if not found:
        raise rec.Problem(f"no table to show: no record holds times of {'training' if what == 'build' else 'searches'}")
    return found


def machine(records):
    """Where and with what it was measured, in a line."""
    facts = []
    for key, name in (("host_cpu", ""), ("threads", "threads "), ("ivf_version", "ivf "), ("ivf_commit", "commit "),
                      ("faiss_version", "faiss ")):
        values = sorted({str(record[key]) for record in records if record[key] is not None})
        if values:
            facts.append(name + " / ".join(values))
    days = sorted({record["timestamp"][:10] for record in records})
    return ", ".join([*facts, days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"])


def markdown(table, level=3):
    def row(cells):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join("---:" if column in table.numeric else "---" for column in range(len(table.heads))) + "|"
    return "\n".join([f"{'#' * level} {table.title}", "", row(table.heads), rule, *map(row, table.rows)]) + "\n"


def as_html(table):
    def row(tag, cells):
        return "<tr>" + "".join(f'<{tag}{" class=n" if column in table.numeric else ""}>{html.escape(cell)}</{tag}>'
                                for column, cell in enumerate(cells)) + "</tr>"

    body = "\n".join(row("td", cells) for cells in table.rows)
    return (f"<h3>{html.escape(table.title)}</h3>\n<div class=wide><table>\n<thead>{row('th', table.heads)}</thead>\n"
            f"<tbody>\n{body}\n</tbody></table></div>\n")
