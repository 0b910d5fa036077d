"""Reads records and sorts them: what was asked (the setting), who answered (the line), and the points that were measured."""
import dataclasses
import json
import math
import pathlib
import re
import statistics
import sys

RECORD_VERSION = 1
NUMBER, TEXT = (int, float), (str,)
# What pictures and tables read: key, types, whether null is allowed.
KEYS = {
    "command": (TEXT, False), "library": (TEXT, False), "device": (TEXT, False), "host_cpu": (TEXT, False),
    "search_mode": (TEXT, False), "isa": (TEXT, True), "threads": (NUMBER, False), "metric": (TEXT, False),
    "dim": (NUMBER, False), "nb": (NUMBER, False), "train_n": (NUMBER, True), "nq": (NUMBER, False), "nlist": (NUMBER, False),
    "nprobe": (NUMBER, False), "max_codes": (NUMBER, False), "topk": (NUMBER, False), "dtype": (TEXT, False),
    "seed": (NUMBER, False), "dataset": (TEXT, False), "queries": (TEXT, False), "index": (TEXT, True),
    "centroids": (TEXT, False), "search_ms_runs": ((list,), False), "train_ms_runs": ((list,), False),
    "add_ms_runs": ((list,), False), "recall_at_k": (NUMBER, True), "recall_at_k_vs_unlimited": (NUMBER, True),
    "result_hash": (TEXT, False), "speedup_vs": (TEXT, True), "speedup": (NUMBER, True), "speedup_low": (NUMBER, True),
    "speedup_high": (NUMBER, True), "ivf_version": (TEXT, False), "ivf_commit": (TEXT, False), "compiler": (TEXT, False),
    "faiss_version": (TEXT, True), "timestamp": (TEXT, False), "label": (TEXT, False),
}
# The question: lines of one picture answer the same one.
SETTING = ("dataset", "queries", "index", "nb", "dim", "metric", "dtype", "seed", "nlist", "train_n", "nprobe", "max_codes", "topk",
           "nq")
# Who answers.
LINE = ("library", "search_mode", "isa", "centroids", "device", "host_cpu", "threads", "label", "ivf_commit")


class Problem(Exception):
    """What is wrong with the input or the request, in one line."""


def shown(value):
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def is_a(value, types):
    return isinstance(value, types) and not isinstance(value, bool)


def check(record, where):
    """A record has what is read here, and in the right types."""
    if not isinstance(record, dict):
        raise Problem(f"{where}: expected a JSON object, one record a line; found {shown(record)}")
    if record.get("record_version") != RECORD_VERSION:
        raise Problem(f"{where}: expected record_version {RECORD_VERSION}, found {shown(record.get('record_version'))}")
    for key, (types, may_be_null) in KEYS.items():
        if key not in record:
            raise Problem(f"{where}: the record has no {key}; is it one of ivf bench or a sweep?")
        value = record[key]
        if not is_a(value, types) and not (value is None and may_be_null):
            expected = {NUMBER: "a number", TEXT: "a text", (list,): "a list"}[types]
            raise Problem(f"{where}: {key}: expected {expected}, found {shown(value)}")
        if types is NUMBER and value is not None and not (math.isfinite(value) and value >= 0):
            raise Problem(f"{where}: {key}: expected a number of at least 0, found {shown(value)}")
    for key in ("search_ms_runs", "train_ms_runs", "add_ms_runs"):
        if any(not is_a(run, NUMBER) or not math.isfinite(run) or run < 0 for run in record[key]):
            raise Problem(f"{where}: {key}: expected numbers of at least 0, found {shown(record[key])}")
    if not record["search_ms_runs"] or min(record["search_ms_runs"]) == 0:
        raise Problem(f"{where}: search_ms_runs: expected times above 0, found {shown(record['search_ms_runs'])}")
    for key in ("nq", "nb", "nprobe", "nlist", "topk"):
        if record[key] < 1:
            raise Problem(f"{where}: {key}: expected at least 1, found {shown(record[key])}")


def read(names):
    """The records of several files, - being standard input, in order."""
    records = []
    for name in names:
        try:
            source = sys.stdin.buffer.read() if name == "-" else pathlib.Path(name).read_bytes()
            text = source.decode("utf-8")
        except OSError as error:
            raise Problem(f"{name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise Problem(f"{name}: expected UTF-8, found byte 0x{error.object[error.start]:02x} at {error.start}") from error
        before = len(records)
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            where = f"{'standard input' if name == '-' else name}:{number}"
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise Problem(f"{where}: expected JSON, one record a line; {getattr(error, 'msg', 'nested too deeply')}") from error
            check(record, where)
            records.append(record)
        if len(records) == before:
            raise Problem(f"{name}: no records")
    return records


@dataclasses.dataclass
class Point:
    """Records of one line and one value of x. Several count as one with all their runs, as for `ivf compare`."""
    x: float
    records: list

    @property
    def runs(self):
        return [run for record in self.records for run in record["search_ms_runs"]]

    @property
    def nq(self):
        return self.records[0]["nq"]

    @property
    def search_ms(self):
        return statistics.median(self.runs)

    @property
    def qps(self):
        return 1000 * self.nq / self.search_ms

    @property
    def qps_low(self):
        return 1000 * self.nq / max(self.runs)

    @property
    def qps_high(self):
        return 1000 * self.nq / min(self.runs)

    def mean(self, key):
        """The mean of a recall over the records that have it; None without any."""
        values = [record[key] for record in self.records if record[key] is not None]
        return statistics.mean(values) if values else None

    @property
    def latest(self):
        return max(self.records, key=lambda record: record["timestamp"])


@dataclasses.dataclass
class Line:
    name: str
    library: str
    points: list


@dataclasses.dataclass
class Group:
    """Records of one setting: what differs is x and who answered."""
    setting: dict
    records: list
    slug: str = ""

    @property
    def title(self):
        return title(self.setting)


def data_name(text):
    """The short name of a data set: mnist-784 of datasets/cache/mnist-784.h5:train."""
    if re.match(r"(gaussian|uniform|clustered):", text):
        return {"gaussian": "normal", "uniform": "uniform", "clustered": "clustered"}[text.split(":")[0]]
    return re.sub(r"\.(h5|hdf5)(:train)?$", "", text.rsplit("/", 1)[-1])


def is_own_queries(setting):
    """Do the queries come from where the data set says that they do?"""
    dataset, queries = setting["dataset"], setting["queries"]
    return queries == dataset or (dataset.endswith(":train") and queries == dataset[:-len("train")] + "test")


def title(setting):
    rows = f"{setting['nb']:,} × {setting['dim']}" if "nb" in setting and "dim" in setting else ""
    parts = [f"{data_name(setting['dataset'])} {rows}".strip()]
    if not is_own_queries(setting):
        parts.append(f"queries {setting['queries'].rsplit('/', 1)[-1]}")
    if setting["dtype"] != "float32":
        parts.append(setting["dtype"])
    parts.append(setting["metric"])
    parts += [f"{name} {setting[key]:,}" for key, name in (("nlist", "nlist"), ("nprobe", "nprobe"), ("topk", "k"), ("nq", "nq"))
              if key in setting]
    if setting.get("max_codes"):
        parts.append(f"max_codes {setting['max_codes']:,}")
    return ", ".join(parts)


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def group(records, free):
    """Groups of one setting each, in order of appearance; `free` are the keys that may differ within a group."""
    kept = [key for key in SETTING if key not in free]
    groups = {}
    for record in records:
        setting = {key: record[key] for key in kept}
        groups.setdefault(json.dumps(setting), Group(setting, [])).records.append(record)
    found = list(groups.values())
    if len(found) > 1:
        name_apart(found)
    return found


def name_apart(groups):
    """Short names for files, made of what differs."""
    varying = [key for key in groups[0].setting if len({json.dumps(g.setting[key]) for g in groups}) > 1]
    # What follows from the data set needs no mention beside it, unless the rest leaves two groups alike.
    brief = [key for key in varying if key not in ("dataset", "queries", "nb", "dim", "metric", "train_n", "seed", "index")]
    for keys in (["dataset"], ["dataset", *brief], ["dataset", *varying]):
        for one in groups:
            one.slug = slug("-".join(data_name(str(one.setting[key])) if key == "dataset" else f"{key}{one.setting[key]}"
                                     for key in dict.fromkeys(keys)))
        if len({one.slug for one in groups}) == len(groups):
            return
    for number, one in enumerate(groups, 1):
        one.slug += f"-{number}"


def library_name(record):
    if record["library"] == "ivf":
        return f"ivf {record['search_mode']}" + (f", {record['isa']}" if record["isa"] else "")
    version = f" {record['faiss_version']}" if record["faiss_version"] else ""
    return "faiss" + version if record["library"] == "faiss_cpu" else record["library"] + version


def label(record):
    """The label that a person gave; nothing for the one that is there by itself."""
    usual = record["label"] in (record["library"], f"{record['library']}_{record['device']}")
    return "" if usual else record["label"]


def line_names(records):
    """Names of the lines by their identity: library, mode and instruction set, and of the rest what differs."""
    identities = {tuple(record[key] for key in LINE): record for record in records}

    def varies(key, among):
        return len({record[key] for record in among}) > 1

    everything = list(identities.values())
    names = {}
    for identity, record in identities.items():
        same_library = [other for other in everything if other["library"] == record["library"]]
        details = [f"{record['threads']} threads"] if varies("threads", everything) else []
        details += [record[key] for key in ("device", "host_cpu") if varies(key, everything)]
        details += [f"centroids of {record['centroids']}"] if varies("centroids", same_library) else []
        details += [label(record)] if varies("label", same_library) else []
        details += [record["ivf_commit"]] if varies("ivf_commit", same_library) else []
        names[identity] = ", ".join(filter(None, [library_name(record), *details]))
    return names


def library_order(record):
    """ivf first, its modes in the order auto, matrix, csr."""
    modes = ("auto", "matrix", "csr")
    mode = modes.index(record["search_mode"]) if record["search_mode"] in modes else len(modes)
    return (record["library"] != "ivf", record["isa"] or "", mode)


def lines(records, x):
    """The lines of a picture, each with its points in order of x (a key)."""
    names = line_names(records)
    found = {}
    for record in sorted(records, key=library_order):
        line = found.setdefault(names[tuple(record[key] for key in LINE)], {})
        line.setdefault(record[x], []).append(record)
    return [Line(name, next(iter(points.values()))[0]["library"], [Point(value, points[value]) for value in sorted(points)])
            for name, points in found.items()]


def pareto(points):
    """The points that no other one beats in both (recall, speed), by growing recall. points: [(recall, qps, ...)]."""
    front, best = [], -math.inf
    for point in sorted(points, key=lambda p: (-p[0], -p[1])):
        if point[1] > best:
            front.append(point)
            best = point[1]
    return front[::-1]
