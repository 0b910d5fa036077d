"""The pictures: QPS by nq, recall against QPS, the cost of max_codes, and the same measurement over time."""
import dataclasses
import textwrap
import typing

from matplotlib import ticker

from . import records as rec
from . import style as look

QPS = "Queries per second"
SPREAD = "Points: median of the runs; bars: slowest and quickest run"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of picture."""
    name: str
    stem: str
    title: str
    free: tuple
    draw: typing.Callable
    # Whether `draw` (everything that the records hold) takes this record.
    takes: typing.Callable
    needs: str


@dataclasses.dataclass(frozen=True)
class Picture:
    kind: Kind
    name: str
    title: str
    group: rec.Group


def counts(axis):
    """Whole numbers on an axis: 2,048, not 2.048e3."""
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def at_values(axis, values, names=None):
    """Ticks at the measured values and nowhere else."""
    axis.set_major_locator(ticker.FixedLocator(list(values)))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FixedFormatter(names or [f"{value:,}" for value in values]))


def qps_axis(axes, points):
    axes.set_ylabel(f"{QPS} (log)")
    axes.set_yscale("log")
    low, high = min(point.qps_low for point in points), max(point.qps_high for point in points)
    # Less than two decades have too few powers of ten to read values from.
    subs = (1, 2, 5) if high < 100 * low else (1,)
    axes.set_ylim(low / 1.3, high * 1.3)
    axes.yaxis.set_major_locator(ticker.LogLocator(base=10, subs=subs, numticks=20))
    axes.yaxis.set_minor_locator(ticker.LogLocator(base=10, subs=range(2, 10), numticks=20))
    counts(axes.yaxis)


def qps_bars(points):
    """How far slowest and quickest run are from the median."""
    return [[point.qps - point.qps_low for point in points], [point.qps_high - point.qps for point in points]]


def plot_qps(axes, style, index, line, xs):
    axes.errorbar(xs, [point.qps for point in line.points], yerr=qps_bars(line.points), label=line.name, capsize=3,
                  elinewidth=1, **look.look(style, index))


def all_points(lines):
    return [point for line in lines for point in line.points]


def draw_nq(figure, axes, style, group):
    lines = rec.lines(group.records, "nq")
    axes, = axes
    for index, line in enumerate(lines):
        plot_qps(axes, style, index, line, [point.x for point in line.points])
    axes.set_xscale("log")
    at_values(axes.xaxis, sorted({point.x for point in all_points(lines)}))
    qps_axis(axes, all_points(lines))
    axes.set_xlabel("Queries a batch (nq, log)")
    legend(figure, axes, beside=len(lines) > 6)


def draw_nprobe(figure, axes, style, group):
    lines = rec.lines([record for record in group.records if record["recall_at_k"] is not None], "nprobe")
    axes, = axes
    k = group.setting["topk"]
    measured = []
    for index, line in enumerate(lines):
        recalls = [point.mean("recall_at_k") for point in line.points]
        plot_qps(axes, style, index, line, recalls)
        measured += [(recall, point.qps, point) for recall, point in zip(recalls, line.points)]
    front = rec.pareto(measured)
    recalls, speeds = [point[0] for point in front], [point[1] for point in front]
    axes.plot(recalls, speeds, linestyle="none", marker="o", markersize=13, markerfacecolor="none",
              markeredgecolor=style.ink, markeredgewidth=1.2, label="Pareto front (numbers: nprobe)", zorder=4)
    axes.step(recalls, speeds, where="pre", color=style.ink, linewidth=0.8, alpha=0.5, zorder=1)
    for recall, qps, point in front:
        axes.annotate(f"{point.x:,}", (recall, qps), xytext=(8, 6), textcoords="offset points", fontsize=8.5)
    qps_axis(axes, all_points(lines))
    axes.set_xlabel(f"Recall@{k} against exact search")
    axes.margins(x=0.06)
    legend(figure, axes)


def draw_maxcodes(figure, axes, style, group):
    lines = rec.lines(group.records, "max_codes")
    limits = sorted({point.x for point in all_points(lines)} - {0})
    unlimited = 2 * limits[-1] if limits else 1
    names = [*(f"{limit:,}" for limit in limits), "no limit"]

    def place(point):
        return point.x or unlimited

    speed, quality = axes
    k = group.setting["topk"]
    recalls = False
    for index, line in enumerate(lines):
        points = sorted(line.points, key=place)
        plot_qps(speed, style, index, dataclasses.replace(line, points=points), [place(point) for point in points])
        for key, name, dimmed in (("recall_at_k_vs_unlimited", "against no limit", False),
                                  ("recall_at_k", "against exact", True)):
            having = [point for point in points if point.mean(key) is not None]
            if having:
                recalls = True
                quality.plot([place(p) for p in having], [p.mean(key) for p in having], label=f"{line.name}: {name}",
                             **{**look.look(style, index), **({"linestyle": ":"} if dimmed else {})})
    if not recalls:
        raise rec.Problem("these records hold no recall; ivf sweep-maxcodes writes it")
    speed.set_xscale("log")
    qps_axis(speed, all_points(lines))
    at_values(quality.xaxis, [*limits, unlimited], names)
    quality.set_xlabel("Rows scanned for each query at most (max_codes, log)")
    quality.set_ylabel(f"Recall@{k}")
    legend(figure, speed)
    quality.legend(fontsize=8.5)


# What must be equal for two measurements to be the same one.
SAME = tuple(key for key in rec.LINE if key not in ("ivf_commit", "label")) + ("command", "nq", "nprobe", "max_codes")


def is_slower(before, after, limit):
    """Slower by more than the limit, in the median and with every run slower than all of those before."""
    return after.qps < (1 - limit) * before.qps and after.qps_high < before.qps_low


def moments(group):
    """The states that were measured, in order of time: (commit, label), each with the first time of it."""
    first = {}
    for record in sorted(group.records, key=lambda record: record["timestamp"]):
        first.setdefault(moment(record), record["timestamp"])
    return first


def moment(record):
    # Runs of one commit on different days are different points: that is how noise of the machine shows.
    return (record["timestamp"][:10], record["ivf_commit"], rec.label(record))


def detail(key, value):
    """A parameter in the name of a line."""
    if key in ("command", "device", "host_cpu"):
        return value
    return f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}"


def history_lines(group):
    places = {key: index for index, key in enumerate(moments(group))}
    series = {}
    for record in sorted(group.records, key=rec.library_order):
        series.setdefault(tuple(record[key] for key in SAME), []).append(record)
    varying = [key for key in SAME if len({identity[SAME.index(key)] for identity in series}) > 1]
    extra = [key for key in varying if key not in ("library", "search_mode", "isa")]
    for members in series.values():
        name = ", ".join([rec.library_name(members[0]), *(detail(key, members[0][key]) for key in extra)])
        points = {}
        for record in members:
            points.setdefault(places[moment(record)], []).append(record)
        yield rec.Line(name, members[0]["library"], [rec.Point(place, points[place]) for place in sorted(points)])


def draw_history(figure, axes, style, group, limit=0.05):
    axes, = axes
    lines = list(history_lines(group))
    slower = 0
    for index, line in enumerate(lines):
        plot_qps(axes, style, index, line, [point.x for point in line.points])
        for before, after in zip(line.points, line.points[1:]):
            if not is_slower(before, after, limit):
                continue
            axes.plot([after.x], [after.qps], marker="o", markersize=14, markerfacecolor="none",
                      markeredgecolor=style.alarm, markeredgewidth=1.8, linestyle="none", zorder=5,
                      label=None if slower else f"slower by more than {100 * limit:g} %")
            axes.annotate(f"{100 * (after.qps / before.qps - 1):+.0f} %", (after.x, after.qps), xytext=(0, -19), ha="center",
                          textcoords="offset points", color=style.alarm, fontsize=9, fontweight="bold")
            slower += 1
    names = []
    for day, commit, label in moments(group):
        names.append("\n".join(filter(None, [day, commit[:10], label[:18]])))
    at_values(axes.xaxis, range(len(names)), names)
    axes.tick_params(axis="x", labelsize=8, labelrotation=0 if len(names) <= 8 else 60)
    axes.margins(x=0.08)
    qps_axis(axes, all_points(lines))
    axes.set_ylim(axes.get_ylim()[0] / 1.15, axes.get_ylim()[1])
    axes.set_xlabel("Day, commit and label of the measurement")
    # Room for a legend of every line, and for the names of every moment.
    figure.set_size_inches(max(look.SIZE[0], 3 + 0.9 * len(names)), max(look.SIZE[1], 1 + 0.25 * len(lines)))
    legend(figure, axes, beside=True)


def headline(axes, title, details):
    lines = textwrap.wrap(details, 105)
    axes.annotate("\n".join(lines), (0, 1), xycoords="axes fraction", xytext=(0, 7), textcoords="offset points", fontsize=9,
                  va="bottom", annotation_clip=False)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=11 + 13 * len(lines))


def legend(figure, axes, beside=False):
    """Inside where the lines leave room; beside the picture where they do not."""
    if beside:
        axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))
    else:
        axes.legend(fontsize=9)
    figure.supxlabel(SPREAD, fontsize=8, x=0.99, ha="right", alpha=0.75)


KINDS = {kind.name: kind for kind in (
    Kind("nq", "qps-by-nq", "Speed by the number of queries searched together", ("nq",), draw_nq,
         lambda record: record["command"] == "sweep-nq", "records of at least two values of nq (ivf sweep-nq)"),
    Kind("recall", "recall-against-qps", "Recall against speed", ("nprobe",), draw_nprobe,
         lambda record: record["command"] == "sweep-nprobe",
         "records with recall of at least two values of nprobe (ivf sweep-nprobe)"),
    Kind("maxcodes", "max-codes", "Speed and recall by the rows scanned at most", ("max_codes",), draw_maxcodes,
         lambda record: record["command"] == "sweep-maxcodes",
         "records of at least two values of max_codes (ivf sweep-maxcodes)"),
    Kind("history", "history", "The same measurements over time", ("nq", "nprobe", "max_codes"), draw_history,
         lambda record: True, "the same measurement of at least two commits, days or labels"),
)}


def is_enough(kind, group):
    """Has a group what makes a line?"""
    if kind.name == "history":
        return any(len(line.points) > 1 for line in history_lines(group))
    usable = [r for r in group.records if kind.name != "recall" or r["recall_at_k"] is not None]
    return len({record[kind.free[0]] for record in usable}) > 1


def pictures(records, wanted=None):
    """What can be drawn of the records: of one kind, or (None) of every kind that they were measured for."""
    found = []
    for kind in KINDS.values():
        if wanted not in (None, kind.name):
            continue
        chosen = [record for record in records if wanted or kind.takes(record)]
        groups = [group for group in rec.group(chosen, kind.free) if is_enough(kind, group)] if chosen else []
        if len(groups) == 1:
            groups[0].slug = ""
        found += [Picture(kind, "-".join(filter(None, [kind.stem, group.slug])), f"{kind.title}\n{group.title}", group)
                  for group in groups]
        if wanted and not groups:
            raise rec.Problem(f"nothing to draw: {kind.name} needs {kind.needs}")
    if not found:
        raise rec.Problem("nothing to draw: no sweep with two values, and no measurement that was repeated later")
    return found


def render(picture, style_name, kinds, limit=0.05):
    """The picture as files: {kind of file: bytes}."""
    style = look.STYLES[style_name]
    with look.applied(style):
        figure, axes = look.new_figure(2 if picture.kind.name == "maxcodes" else 1)
        headline(axes[0], *picture.title.split("\n", 1))
        options = {"limit": limit} if picture.kind.name == "history" else {}
        picture.kind.draw(figure, axes, style, picture.group, **options)
        look.settle(figure)
        return {kind: look.encode(figure, kind) for kind in kinds}
