"""The page of `mixer inspect`: learned weights, representations, what a prediction rests on."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mlpmixer.report.depth_views import depth_views
from mlpmixer.report.figure_page import FigurePage, FigureView, Section, write_page
from mlpmixer.report.inspection_contents import InspectionContents
from mlpmixer.report.inspection_findings import inspection_findings
from mlpmixer.report.mosaic_views import stem_view, unit_views
from mlpmixer.report.picture_views import picture_view
from mlpmixer.report.representation_views import representation_views

PAGE = "inspect.html"


def write_inspection(
    folder: Path, contents: InspectionContents, on_progress: Callable[[float], None] | None = None
) -> tuple[Path, list[str]]:
    """Write the page into `folder`, and its figures and data into folders below it.

    `on_progress` is called with the share of the figures drawn, in [0, 1].

    Returns:
        The page's path and the figures' names.

    Raises:
        MixerError: a file cannot be written.
    """
    sections = []
    drawn: list[str] = []
    for part in _parts(contents, folder):
        views = []
        for view in part.figures:
            views.append(view)
            drawn.append(view.name)
            if on_progress is not None:
                on_progress(min(1.0, len(drawn) / _expected(contents)))
        note = contents.notes.get(part.key, "")
        if views or note:
            sections.append(
                Section(part.key, part.title, part.text if views else "", tuple(views), note)
            )
    page = FigurePage(
        title=f"Inside {contents.name}",
        subtitle=tuple(filter(None, (contents.model, contents.data))),
        sections=tuple(sections),
        findings=inspection_findings(contents),
        facts=contents.facts,
        commands=contents.commands,
    )
    write_page(folder / PAGE, page)
    return folder / PAGE, drawn


class _Part(NamedTuple):
    """A section whose figures are drawn as they are asked for."""

    key: str
    title: str
    text: str
    figures: Iterable[FigureView]


def _parts(contents: InspectionContents, folder: Path) -> Iterator[_Part]:
    """Yield the sections in the order of the network."""
    filters, mixing = contents.stem_filters, contents.token_mixing
    followed = contents.representations
    yield _Part(
        "stem",
        "What the first layer sees",
        "The first layer looks at small pieces of the picture, all by the same filters. Each tile "
        "is one of them, in its own colours: grey is zero, and a piece that looks like the tile "
        "excites its channel most.",
        () if filters is None else (stem_view(filters, folder),),
    )
    yield _Part(
        "token_mixing",
        "Where token mixing looks",
        "In token mixing, every hidden unit sums one channel over the patches of the picture. A "
        "tile shows the weight that a unit gives each patch: red counts for, blue against, white "
        "not at all. All units are shown, each beside the one most opposed to it, from broad "
        "patterns (upper left) to fine ones (lower right). Click to enlarge. The paper's first "
        "layers hold units that look at the whole picture and units that look at a part, many "
        "of them in pairs of opposite phase; its later layers look less orderly.",
        () if mixing is None else unit_views(mixing, folder),
    )
    yield _Part(
        "depth",
        "Token mixing from layer to layer",
        "The same weights in numbers. Dots are the median unit or pair of a block, thick bars the "
        "middle half, thin ones the middle 90 %; the dashed line is what the same measure gives "
        "without any learning.",
        () if mixing is None else depth_views(mixing, folder),
    )
    yield _Part(
        "representations",
        "How pictures move through the layers",
        "A picture goes through the network as a table of tokens, one for each place, and every "
        f"{'layer' if followed is None else followed.unit} changes the table.",
        () if followed is None else representation_views(followed, folder),
    )
    yield _Part(
        "pictures",
        "What a prediction rests on",
        "Orange patches speak for the predicted class, blue ones against it; the stronger the "
        "colour, the more. Occlusion paints one patch after the other over with the picture's mean "
        "colour and takes what the prediction loses, in log-odds (1 more multiplies the odds by "
        "2.7). Gradient × input estimates the same from one backward pass. Sensitivity is "
        "how strongly the prediction would react to a slight change of the patch, whichever way. "
        "Where the maps agree they can be relied on most.",
        (
            picture_view(shown, index, folder)
            for index, shown in enumerate(contents.attributions, 1)
        ),
    )


def _expected(contents: InspectionContents) -> int:
    """Return about how many figures there will be."""
    mixing = contents.token_mixing
    weights = 1 if mixing is None else len(mixing.blocks) + 6
    return weights + 4 * (contents.representations is not None) + len(contents.attributions)
