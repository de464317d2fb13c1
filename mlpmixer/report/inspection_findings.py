"""What the figures of an inspection show, in sentences."""

from collections.abc import Iterator

import numpy as np

from mlpmixer.report.formatting import percent
from mlpmixer.report.inspection_contents import InspectionContents, Representations, TokenMixings

_CLEARLY = 0.25  # share of the pairs; chance gives 5 %
_DECIDED = 0.9  # share of the pictures


def inspection_findings(contents: InspectionContents) -> tuple[str, ...]:
    """Return a sentence or two on each part of the page that has numbers."""
    found: list[str] = []
    if contents.token_mixing is not None:
        found += _token_mixing(contents.token_mixing)
    if contents.representations is not None:
        found += _representations(contents.representations)
    return tuple(found)


def _token_mixing(mixing: TokenMixings) -> Iterator[str]:
    blocks = mixing.blocks
    medians = [float(np.median(block.frequency)) for block in blocks]
    broadest, finest = int(np.argmin(medians)), int(np.argmax(medians))
    yield (
        f"Token mixing is broadest in block {broadest + 1} (median unit: {medians[broadest]:.2f} "
        f"cycles a patch) and finest in block {finest + 1} ({medians[finest]:.2f}); fresh weights "
        f"have {mixing.fresh_frequency:.2f}."
    )
    opposed = [block.beyond_chance for block in blocks]
    most = int(np.argmax(opposed))
    if opposed[most] < _CLEARLY:
        yield "Units in pairs of opposite phase are no more frequent than chance makes them."
        return
    half = max(1, len(blocks) // 2)
    early, late = float(np.mean(opposed[:half])), float(np.mean(opposed[-half:]))
    paper = (
        "more in the first half of the blocks than in the second, as in the paper"
        if early > late + 0.05
        else "as many in the second half of the blocks as in the first, other than in the paper"
        if abs(early - late) <= 0.05
        else "more in the second half of the blocks than in the first, other than in the paper"
    )
    yield (
        f"Pairs of opposite phase are most distinct in block {most + 1}: "
        f"{percent(opposed[most], 0)} of its pairs are more opposed than 95 % of those by chance. "
        f"There are {paper} ({percent(early, 0)} and {percent(late, 0)})."
    )


def _representations(found: Representations) -> Iterator[str]:
    for kind, sizes in found.branches.items():
        medians = np.median(sizes, axis=1)
        largest = int(medians.argmax())
        yield (
            f"{kind[0].upper()}{kind[1:]} rewrites most in block {largest + 1}, where it adds "
            f"{percent(float(medians[largest]), 0)} of what is there."
        )
    if found.agreement is not None:
        settled = int(np.argmax(found.agreement >= _DECIDED))
        yield (
            f"For {percent(_DECIDED, 0)} of the pictures the answer stands after "
            f"{'the stem' if settled == 0 else f'{found.unit} {found.layers[settled]}'} "
            f"of {len(found.layers) - 1}."
        )
