"""How all figures look, and how they become files.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind readers
can tell apart; lines also differ in dash or marker, for print in black. Only matplotlib's
object-oriented interface is used: no state is shared with the user's own plots.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpmixer.files import replacing

# These follow the colour scheme of the reader when drawn as SVG; see `to_svg`.
INK = "#1b2331"
MUTED = "#5b6676"
GRID = "#dfe3e9"
BLUE = "#0072b2"
VERMILION = "#d55e00"
_DARK = {INK: "#e6e9ee", MUTED: "#9aa5b4", GRID: "#333b47", BLUE: "#56b4e9", VERMILION: "#f0883e"}

# These stay as they are, behind text of a fixed colour.
RIGHT = "#0a6cab"
WRONG = "#d2600a"

LOOKS = (
    (BLUE, "-", "o"),
    (VERMILION, "--", "s"),
    (INK, ":", "^"),
    (MUTED, "-.", "D"),
    (BLUE, ":", "v"),
    (VERMILION, "-.", "P"),
    (INK, "-", "X"),
    (MUTED, "--", "*"),
)
"""Colour, dash and marker of the models in a figure, one after the other."""

WIDTH = 5.6
"""Inches; two figures fit side by side on the page, and one stays legible on a phone."""

_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Hiragino Sans", "Microsoft YaHei")


def styled() -> AbstractContextManager[None]:
    """Apply the style while figures are drawn or saved."""
    installed = set(font_manager.get_font_names())
    return matplotlib.rc_context(
        {
            "font.family": [font for font in _FONTS if font in installed],
            "font.size": 10,
            "text.color": INK,
            "text.parse_math": False,  # a $ in a class name is a $
            "axes.edgecolor": MUTED,
            "axes.labelcolor": MUTED,
            "axes.titlecolor": INK,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": MUTED,
            "ytick.labelcolor": MUTED,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.solid_capstyle": "round",
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "svg.fonttype": "none",  # text stays text: sharp, small, in the reader's fonts
            "svg.hashsalt": "mlpmixer",  # same input, same file
        }
    )


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of that many inches whose parts arrange themselves."""
    return Figure(figsize=(width, height), layout="constrained")


def bare(axes: Axes) -> None:
    """Leave nothing of the axes but what is drawn in them."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure on white, sharp enough for print."""
    with replacing(path) as temporary, styled(), _quiet_about_missing_glyphs():
        figure.savefig(temporary, dpi=200, facecolor="white", metadata={"Software": None})


def to_svg(figure: Figure) -> str:
    """Return the figure as SVG that needs nothing else and follows a dark colour scheme."""
    buffer = io.StringIO()
    with styled(), _quiet_about_missing_glyphs():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]  # the prolog names an external DTD
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for number, light in enumerate(_DARK):
        svg = svg.replace(f": {light}", f": var(--c{number})")
    light_rules = ";".join(f"--c{number}:{light}" for number, light in enumerate(_DARK))
    dark_rules = ";".join(f"--c{number}:{dark}" for number, dark in enumerate(_DARK.values()))
    style = (
        f"<style>svg{{{light_rules}}}"
        f"@media screen and (prefers-color-scheme:dark){{svg{{{dark_rules}}}}}"
        "text{font-family:system-ui,sans-serif!important}</style>"
    )
    head_end = svg.index(">") + 1
    return svg[:head_end] + style + svg[head_end:]


@contextmanager
def _quiet_about_missing_glyphs() -> Iterator[None]:
    """Class names may use a script that no installed font covers; the page shows them anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield
