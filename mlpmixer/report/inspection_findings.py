"""What the figures of an inspection show, in sentences."""

from collections.abc import Iterator

import numpy as np

from mlpmixer.formatting import percent
from mlpmixer.report.inspection_contents import InspectionContents, Representations, TokenMixings

_CLEARLY = 0.25  # share of the pairs; chance gives 5 %
_DIFFERS = 0.02  # cycles a patch
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
    if max(abs(median - mixing.fresh_frequency) for median in medians) < _DIFFERS:
        yield (
            "Token mixing prefers neither broad nor fine patterns: its units have the spatial "
            "frequencies of fresh weights."
        )
    else:
        yield (
            f"Token mixing is broadest in block {broadest + 1} (median unit: "
            f"{medians[broadest]:.2f} cycles a patch) and finest in block {finest + 1} "
            f"({medians[finest]:.2f}); fresh weights have {mixing.fresh_frequency:.2f}."
        )
    opposed = [block.beyond_chance for block in blocks]
    most = int(np.argmax(opposed))
    if opposed[most] < _CLEARLY:
        yield "Pairs of opposite phase are hardly more frequent than chance makes them."
        return
    sentence = (
        f"Pairs of opposite phase stand out most in block {most + 1}: {percent(opposed[most], 0)} "
        f"of its pairs are more opposed than 95 % of pairs by chance."
    )
    if half := len(blocks) // 2:
        early, late = float(np.mean(opposed[:half])), float(np.mean(opposed[half:]))
        sentence += (
            f" In the first half of the blocks it is {percent(early, 0)} on average, in the "
            f"second {percent(late, 0)}; the paper found them in early layers."
        )
    yield sentence


def _representations(found: Representations) -> Iterator[str]:
    for kind, sizes in found.branches.items():
        medians = np.median(sizes, axis=1)
        largest = int(medians.argmax())
        yield (
            f"{kind[0].upper()}{kind[1:]} rewrites most in block {largest + 1}, where it adds "
            f"{percent(float(medians[largest]), 0)} of what is there."
        )
    if found.agreement is not None:
        undecided = np.flatnonzero(found.agreement < _DECIDED)
        settled = int(undecided[-1]) + 1 if len(undecided) else 0
        last = len(found.layers) - 1
        share = percent(_DECIDED, 0)
        if settled == last:
            yield f"Only the last {found.unit} settles the answer for {share} of the pictures."
        elif settled > 0:
            yield (
                f"For {share} of the pictures the answer stands after {found.unit} "
                f"{found.layers[settled]} of {last}."
            )
