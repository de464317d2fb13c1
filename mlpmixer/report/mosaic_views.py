"""The mosaics of a page: all filters of the first layer, all token-mixing units of each block."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpmixer.files import write_bytes, write_text
from mlpmixer.formatting import percent
from mlpmixer.measures.spatial_order import order_of_pairs, spatial_frequency
from mlpmixer.report.figure_page import FigureView, data_uri, npz_file
from mlpmixer.report.inspection_contents import Floats, TokenMixing, TokenMixings
from mlpmixer.report.mosaics import Mosaic, filter_mosaic, unit_mosaic

_CARD, _WIDE_CARD = (522, 522), (1098, 560)  # pixels of the screen inside a card


def stem_view(filters: Floats, folder: Path) -> FigureView:
    """Draw the filters (C, P, P', 3) of the first layer, and write them below `folder`."""
    frequency = spatial_frequency(filters)
    order = np.argsort(frequency, kind="stable")
    mosaic = filter_mosaic(filters[order], _WIDE_CARD)
    labels = {"channel": order, "cycles a pixel": frequency[order]}
    arrays = {"filters": filters, "order": order, "frequency": frequency.astype(np.float32)}
    return _mosaic_view(
        mosaic,
        folder,
        name="stem_filters",
        title=f"All {len(filters):,} filters",
        alt=f"{len(filters)} learned colour patterns of {filters.shape[1]} by {filters.shape[2]}.",
        caption="From smooth (upper left) to fine (lower right), each scaled by its own largest "
        "weight. Learned filters show blobs of colour, edges and gratings; noise is what training "
        "has not touched.",
        labels=labels,
        arrays=arrays,
        shown=("filters", "order", "frequency"),
        wide=True,
    )


def unit_views(mixing: TokenMixings, folder: Path) -> Iterator[FigureView]:
    """Draw the input weights of all units, block by block, and write them below `folder`."""
    for index, block in enumerate(mixing.blocks, 1):
        order = order_of_pairs(block.pairs, block.frequency)
        partner, similarity = _partners(block)
        rows, columns = block.inputs.shape[1:]
        arrays = {
            "inputs": block.inputs,
            "outputs": block.outputs,
            "order": order,
            "partner": partner,
            "partner_cosine": similarity.astype(np.float32),
            "frequency": block.frequency.astype(np.float32),
        }
        low, high = np.quantile(block.frequency, (0.05, 0.95))
        yield _mosaic_view(
            unit_mosaic(block.inputs[order], _CARD),
            folder,
            name=f"token_mixing_block_{index:02}",
            title=f"Block {index}",
            alt=f"Input weights of all {len(order)} token-mixing hidden units of block {index}.",
            caption=f"{len(order):,} units on {rows}×{columns} patches, {low:.2f} to {high:.2f} "
            f"cycles a patch. {percent(block.beyond_chance, 0)} of the pairs are more opposed than "
            "95 % of pairs by chance.",
            labels={
                "unit": order,
                "cycles a patch": block.frequency[order],
                "partner": partner[order],
                "cosine": similarity[order],
            },
            arrays=arrays,
            shown=("inputs", "order", "partner", "partner_cosine", "frequency"),
        )


def _partners(block: TokenMixing) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each unit's partner, -1 for none, and their cosine similarity, 0 for none."""
    partner = np.full(len(block.inputs), -1)
    similarity = np.zeros(len(block.inputs))
    for side in (0, 1):
        partner[block.pairs[:, side]] = block.pairs[:, 1 - side]
        similarity[block.pairs[:, side]] = block.opposition
    return partner, similarity


def _mosaic_view(
    mosaic: Mosaic,
    folder: Path,
    *,
    name: str,
    title: str,
    alt: str,
    caption: str,
    labels: Mapping[str, NDArray[Any]],
    arrays: Mapping[str, NDArray[Any]],
    shown: tuple[str, ...],
    wide: bool = False,
) -> FigureView:
    """Write a mosaic and its arrays; on the page, those `shown` are embedded in half precision."""
    write_bytes(folder / "figures" / f"{name}.png", mosaic.enlarged_png())
    write_text(folder / "figures" / f"{name}.svg", mosaic.svg())
    write_bytes(folder / "data" / f"{name}.npz", npz_file(name, arrays).content)
    embedded = {key: _smaller(arrays[key]) for key in shown}
    return FigureView(
        name,
        data_uri("image/png", mosaic.png()),
        alt,
        caption,
        title,
        (("NPZ", npz_file(name, embedded)),),
        wide,
        mosaic.size,
        mosaic.labelled(labels),
    )


def _smaller(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the type that keeps a page small: more than the eye can tell apart."""
    if array.dtype.kind == "f":
        return array.astype(np.float16)
    return array.astype(np.int16 if array.max(initial=0) < 2**15 else np.int32)
