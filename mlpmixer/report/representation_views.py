"""How pictures move through the layers, as figures of a page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mlpmixer.report import layer_plots
from mlpmixer.report.figure_page import FigureView, csv_file, figure_view
from mlpmixer.report.inspection_contents import Floats, Representations

_QUARTILES = (0.25, 0.5, 0.75)


def representation_views(found: Representations, folder: Path) -> Iterator[FigureView]:
    """Draw what is known of the representations, and write it below `folder`."""
    names, after = list(found.layers), f"after {found.unit}"
    images = f"{found.images:,} {'picture' if found.images == 1 else 'pictures'}"
    if found.branches:
        kinds = {
            kind: np.quantile(sizes, _QUARTILES, axis=1) for kind, sizes in found.branches.items()
        }
        blocks = [str(index) for index in range(1, len(next(iter(found.branches.values()))) + 1)]
        yield _line_view(
            folder,
            name="branch_sizes",
            title="What each block adds",
            caption="A block adds to what it receives. Here is the size of each addition beside "
            f"that of what it is added to: 100 % means that it is as large. Median of {images}, "
            "band: the middle half. Large values are layers that rewrite, small ones refine.",
            values=kinds,
            names=blocks,
            unit=found.unit,
            quantity="size of the addition",
            share=True,
        )
    similar = {"tokens of one picture": np.quantile(found.token_similarity, _QUARTILES, axis=1)}
    if found.step_similarity is not None:
        similar[f"picture before and after the {found.unit}"] = np.quantile(
            found.step_similarity, _QUARTILES, axis=1
        )
    yield _line_view(
        folder,
        name="similarities",
        title="How alike",
        caption="Cosine similarity: 1 is the same direction, 0 unrelated. Where the tokens of a "
        "picture become alike, they no longer tell about their places but about the whole picture. "
        f"Where a {found.unit} leaves a picture's mean token as it was, little happens to it "
        f"there. Median of {images}, band: the middle half.",
        values=similar,
        names=names,
        unit=after,
        quantity="cosine similarity",
        ceiling=1.0,
    )
    if found.alignment is not None:
        grid = np.meshgrid(names, names, indexing="ij")
        yield figure_view(
            layer_plots.alignment(found.alignment, names, unit=found.unit),
            folder,
            name="layer_alignment",
            title="Which layers see the same",
            alt="Similarity of the representations after each layer, every layer with every other.",
            caption="Two layers are similar (1, bright) if the same pictures are alike to both, "
            f"in whatever coordinates: linear CKA of mean tokens over {images}, the unbiased "
            "estimate. Bright squares along the diagonal are phases in which little changes.",
            data=csv_file(
                "layer_alignment",
                {
                    "after": grid[0].ravel(),
                    "and_after": grid[1].ravel(),
                    "linear_cka": found.alignment.ravel(),
                },
            ),
        )
    if found.agreement is not None:
        shares = {"same answer as in the end": found.agreement}
        if found.accuracy is not None:
            shares["right answer"] = found.accuracy
        yield _line_view(
            folder,
            name="answers",
            title="When the answer is found",
            caption="The head, made for the last layer, is put behind every layer. Where its "
            "answer is already the final one, the layers behind only confirm it. "
            f"{images.capitalize()}.",
            values=shares,
            names=names,
            unit=after,
            quantity="share of the pictures",
            share=True,
            ceiling=1.0,
        )


def _line_view(
    folder: Path,
    *,
    name: str,
    title: str,
    caption: str,
    values: dict[str, Floats],
    names: list[str],
    unit: str,
    quantity: str,
    share: bool = False,
    ceiling: float | None = None,
) -> FigureView:
    columns: dict[str, ArrayLike] = {unit.replace(" ", "_"): names}
    for label, drawn in values.items():
        key = label.replace(" ", "_")
        missing = np.full(len(names) - drawn.shape[-1], np.nan)  # before the first block
        if drawn.ndim == 1:
            columns[key] = np.concatenate([missing, drawn])
            continue
        for at, row in zip(_QUARTILES, drawn, strict=True):
            columns[f"{key}_{at:g}"] = np.concatenate([missing, row])
    return figure_view(
        layer_plots.lines(
            values, names, unit=unit, quantity=quantity, share=share, ceiling=ceiling
        ),
        folder,
        name=name,
        title=title,
        alt=f"{title}: {quantity} by layer.",
        caption=caption,
        data=csv_file(name, columns),
    )
