"""What the pages share: templates, and figures that can be zoomed and downloaded.

A page is one file. Pictures, data and styles are in it as data: URIs; its only script, the viewer,
is named in the page's content policy by its digest, so that no other can run.
"""

import base64
import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from mlpmixer import formatting
from mlpmixer.files import replacing, write_bytes, write_text
from mlpmixer.json_text import json_text
from mlpmixer.report.figure_style import save_png, to_svg

_MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".csv": "text/csv;charset=utf-8",
    ".npz": "application/octet-stream",
}


class File(NamedTuple):
    """A file that a page offers or shows."""

    name: str
    content: bytes

    @property
    def uri(self) -> str:
        """The whole file as a data: URI."""
        return data_uri(_MEDIA_TYPES[Path(self.name).suffix], self.content)


@dataclass(frozen=True)
class FigureView:
    """A figure as a page shows it."""

    name: str
    uri: str
    alt: str
    caption: str
    title: str = ""
    downloads: tuple[tuple[str, File], ...] = ()
    """What to write on each link, and the file behind it."""
    wide: bool = False
    """Takes the whole width of the page."""
    size: tuple[int, int] | None = None
    """Width and height on a wide screen, of pictures whose pixels are to be seen; CSS pixels."""
    tiles: Mapping[str, Any] = field(default_factory=dict)
    """Of a mosaic, where its tiles lie and what is known of each; see `mosaics.Mosaic`."""

    @property
    def tiles_json(self) -> str:
        """The tiles as the viewer reads them."""
        return json_text(self.tiles)


@dataclass(frozen=True)
class Table:
    """Numbers in rows, as a page and a terminal show them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1
    """How many of the first columns are words; the others are numbers, aligned to the right."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the numbers to stress, counted from 0."""


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, a sentence or two, figures in cards, a table."""

    key: str
    title: str
    text: str = ""
    figures: tuple[FigureView, ...] = ()
    note: str = ""
    """What is left out, and why."""
    table: Table | None = None


@dataclass(frozen=True)
class FigurePage:
    """A page that consists of figures."""

    title: str
    subtitle: tuple[str, ...]
    sections: tuple[Section, ...]
    findings: tuple[str, ...] = ()
    """What the figures show, in sentences."""
    facts: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    """What a command does to the command."""


def environment() -> Environment:
    """Return the templates' environment, with the filters that word numbers."""
    made = Environment(
        loader=PackageLoader("mlpmixer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_written,
    )
    made.filters.update(
        percent=formatting.percent,
        number=formatting.number,
        duration=formatting.duration,
        memory=formatting.memory,
        magnitude=formatting.magnitude,
        shortened=formatting.shortened,
    )
    return made


def _written(value: object) -> object:
    """Return a value as templates write it.

    Text comes without what neither HTML nor UTF-8 may hold, and without keys in addresses: a page
    can be sent to others as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(formatting.printable, formatting.without_secrets(value).split("\n")))


def data_uri(media_type: str, content: bytes) -> str:
    """Return `content` as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def csv_file(name: str, columns: Mapping[str, ArrayLike]) -> File:
    """Return the file NAME.csv of columns of equal length, numbers with six digits.

    Raises ValueError where the lengths differ.
    """
    lists = [np.asarray(column).tolist() for column in columns.values()]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_cells, zip(*lists, strict=True)))
    return File(f"{name}.csv", text.getvalue().encode())


def npz_file(name: str, arrays: Mapping[str, ArrayLike]) -> File:
    """Return the file NAME.npz of arrays, which `numpy.load` reads."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # taken for allow_pickle
    return File(f"{name}.npz", buffer.getvalue())


def figure_view(
    figure: Figure,
    folder: Path,
    *,
    name: str,
    title: str,
    alt: str,
    caption: str,
    data: File,
    wide: bool = False,
) -> FigureView:
    """Write a figure and its data below `folder`, and return what a page shows of it.

    The files are figures/NAME.png, figures/NAME.svg and, in data/, what `data` holds. The page
    shows the SVG, which the viewer also offers for download, beside the PNG and the data.

    Raises:
        MixerError: a file cannot be written.
    """
    svg = to_svg(figure)
    png = folder / "figures" / f"{name}.png"
    save_png(figure, png)
    write_text(png.with_suffix(".svg"), svg)
    write_bytes(folder / "data" / data.name, data.content)
    return FigureView(
        name,
        data_uri("image/svg+xml", svg.encode()),
        alt,
        caption,
        title,
        (("PNG", File(png.name, png.read_bytes())), (_kind(data), data)),
        wide,
    )


def write_page(path: str | os.PathLike[str], page: FigurePage) -> None:
    """Write a page of figures.

    Raises:
        MixerError: the file cannot be written.
    """
    templates = environment()
    loader = templates.loader
    assert loader is not None
    viewer = loader.get_source(templates, "viewer.js")[0]
    digest = base64.b64encode(hashlib.sha256(f"\n{viewer}".encode()).digest()).decode()
    # A page of many megabytes is written piece by piece, never whole in memory.
    with replacing(path) as temporary:
        templates.get_template("figures.html.j2").stream(
            page=page, viewer=Markup(viewer), viewer_digest=digest
        ).dump(str(temporary), encoding="utf-8")


def _kind(file: File) -> str:
    return Path(file.name).suffix[1:].upper()


def _cells(row: Sequence[Any]) -> list[Any]:
    return [f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row]
