"""Token mixing from layer to layer, as figures of a page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlpmixer.report import layer_plots
from mlpmixer.report.figure_page import FigureView, csv_file, figure_view
from mlpmixer.report.inspection_contents import Floats, TokenMixings


def depth_views(mixing: TokenMixings, folder: Path) -> Iterator[FigureView]:
    """Draw spectra and the distributions of the units' measures, and write them below `folder`."""
    blocks = mixing.blocks
    names = [str(index) for index in range(1, len(blocks) + 1)]
    power = np.stack([block.power for block in blocks])
    yield figure_view(
        layer_plots.spectra(mixing.ring_frequency, power, names, unit="block"),
        folder,
        name="frequency_spectra",
        title="Frequency spectra",
        alt="Power of the input weights against spatial frequency, one line a block.",
        caption="How much of the weights lies in broad patterns (left) and in fine ones (right), "
        "beside fresh weights, which have as much of each. Half a cycle a patch is the finest "
        "pattern along a row: a change of sign from patch to patch. The first point is a unit's "
        "mean over the picture.",
        data=csv_file(
            "frequency_spectra",
            {
                "block": np.repeat(names, len(mixing.ring_frequency)),
                "cycles_a_patch": np.tile(mixing.ring_frequency, len(blocks)),
                "power_beside_fresh_weights": power.ravel(),
            },
        ),
        wide=True,
    )
    yield _distribution(
        folder,
        name="unit_frequency",
        title="Broad or fine",
        caption="The mean spatial frequency of each unit. Below the line: patterns broader than "
        "chance would make them, in which neighbouring patches count alike.",
        values=[block.frequency for block in blocks],
        quantity="spatial frequency (cycles a patch)",
        reference=mixing.fresh_frequency,
        reference_label="fresh weights",
    )
    yield _distribution(
        folder,
        name="unit_reach",
        title="Global or local",
        caption="Over how much of the picture each unit's weights are spread: all of it if all "
        "patches count alike, a single patch if only one does. The paper found units of both "
        "kinds in the first layers.",
        values=[block.reach for block in blocks],
        quantity="share of the picture covered",
        reference=mixing.fresh_reach,
        reference_label="fresh weights",
        share=True,
    )
    yield _distribution(
        folder,
        name="pair_opposition",
        title="Pairs of opposite phase",
        caption="How opposed the two units of each pair are: −1 is an exact negative. The dashed "
        "line is the median for units of the same frequencies whose phases are drawn at random; "
        "the further below it, the less the pairs are a coincidence. The paper found such pairs "
        "in the first layers.",
        values=[block.opposition for block in blocks],
        quantity="cosine similarity of partners",
        reference=np.array([_median(block.chance_opposition) for block in blocks]),
        reference_label="random phases",
    )
    yield _distribution(
        folder,
        name="read_write",
        title="Where units read and where they write",
        caption="Each unit reads from patches by its input weights and writes back to patches by "
        "its output weights. +1: it writes the pattern that it reads; −1: it takes that "
        "pattern away; 0: it moves information between unrelated places.",
        values=[block.read_write for block in blocks],
        quantity="cosine of input and output weights",
        reference=0.0,
        reference_label="fresh weights",
    )


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _distribution(
    folder: Path,
    *,
    name: str,
    title: str,
    caption: str,
    values: list[Floats],
    quantity: str,
    reference: Floats | float,
    reference_label: str,
    share: bool = False,
) -> FigureView:
    names = [str(index) for index in range(1, len(values) + 1)]
    filled = [one if len(one) else np.zeros(1) for one in values]
    quantiles = np.stack([np.quantile(one, layer_plots.QUANTILES) for one in filled], axis=1)
    figure = layer_plots.distributions(
        quantiles,
        names,
        unit="block",
        quantity=quantity,
        reference=reference,
        reference_label=reference_label,
        share=share,
    )
    drawn = {
        f"quantile_{at:g}": row for at, row in zip(layer_plots.QUANTILES, quantiles, strict=True)
    }
    level = np.broadcast_to(np.asarray(reference, dtype=float), len(names))
    columns = {"block": names, **drawn, "reference": level}
    return figure_view(
        figure,
        folder,
        name=name,
        title=title,
        alt=f"{title}: {quantity} by block.",
        caption=caption,
        data=csv_file(name, columns),
    )
