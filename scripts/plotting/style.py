"""How pictures look: light and dark, colours that colour-blind readers tell apart, and files that are the same every time."""
import contextlib
import dataclasses
import io

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Style:
    name: str
    paper: str
    ink: str
    faint: str
    alarm: str
    colours: tuple


# Colours of Okabe and Ito, for dark paper in lighter tones; markers and dashes tell lines apart without any colour.
STYLES = {
    "light": Style("light", "#ffffff", "#1f2328", "#d5d9de", "#b3261e",
                   ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#555555")),
    "dark": Style("dark", "#0d1117", "#e6edf3", "#30363d", "#ff7b72",
                  ("#56b4e9", "#ff9e4a", "#2fc79a", "#e39cc4", "#f0e442", "#9ecae1", "#aaaaaa")),
}
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":")
SIZE = (8, 5)


@contextlib.contextmanager
def applied(style):
    """Draws within it look so. Nothing of a user's own matplotlibrc gets in."""
    settings = {
        "figure.facecolor": style.paper, "axes.facecolor": style.paper, "savefig.facecolor": style.paper,
        "text.color": style.ink, "axes.labelcolor": style.ink, "axes.edgecolor": style.ink,
        "xtick.color": style.ink, "ytick.color": style.ink, "grid.color": style.faint, "grid.linewidth": 0.7,
        "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
        "legend.facecolor": style.paper, "legend.edgecolor": style.faint, "legend.framealpha": 0.9,
        "font.family": "DejaVu Sans", "font.size": 10, "lines.linewidth": 1.8, "lines.markersize": 6,
        # A dollar sign in a label is a dollar sign.
        "text.parse_math": False,
        # Letters as outlines: the picture does not depend on the fonts of who looks at it.
        "svg.fonttype": "path", "svg.hashsalt": "ivf", "savefig.dpi": 150,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def look(style, index):
    """Colour, marker and dashes of the line of this number."""
    return {"color": style.colours[index % len(style.colours)], "marker": MARKERS[index % len(MARKERS)],
            "linestyle": DASHES[index // len(MARKERS) % len(DASHES)]}


def settle(figure):
    """Arranges the figure, once for all the files that it becomes."""
    figure.canvas.draw()
    figure.set_layout_engine("none")


def encode(figure, kind):
    """The figure as the bytes of a file, the same bytes every time: without the date and the version of what drew it."""
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()


def new_figure(rows=1):
    figure = Figure(figsize=(SIZE[0], SIZE[1] if rows == 1 else 7), constrained_layout=True)
    FigureCanvasAgg(figure)
    return figure, [row[0] for row in figure.subplots(rows, 1, squeeze=False, sharex=True)]
