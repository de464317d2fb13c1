"""What the page of `mixer inspect` tells. Plain numbers, arrays and pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class TokenMixing:
    """The hidden units of one block's token-mixing MLP, D of them."""

    inputs: Floats
    """(D, h, w): the weight that each unit gives each patch."""
    outputs: Floats
    """(D, h, w): what each unit adds to each patch."""
    frequency: Floats
    """(D,): mean spatial frequency of the input weights in cycles a patch, in [0, 0.71]."""
    reach: Floats
    """(D,): share of the picture that the input weights effectively cover, in (0, 1]."""
    read_write: Floats
    """(D,): cosine similarity of a unit's input and output weights."""
    pairs: NDArray[np.intp]
    """(D // 2, 2): units of opposite phase."""
    opposition: Floats
    """(D // 2,): cosine similarity of each pair."""
    chance_opposition: Floats
    """(D // 2,): the same after every unit's phase was drawn anew, sorted."""
    power: Floats
    """(rings,): power by spatial frequency; 1 is what fresh weights have at every frequency."""

    @property
    def beyond_chance(self) -> float:
        """Share of the pairs more opposed than 95 % of those by chance, in [0, 1]."""
        if not len(self.opposition):
            return 0.0
        return float((self.opposition < np.quantile(self.chance_opposition, 0.05)).mean())


@dataclass(frozen=True, kw_only=True)
class TokenMixings:
    """The token mixing of all blocks."""

    blocks: tuple[TokenMixing, ...]
    ring_frequency: Floats
    """(rings,): cycles a patch."""
    fresh_frequency: float
    """What `TokenMixing.frequency` is on average before training."""
    fresh_reach: float
    """What `TokenMixing.reach` is on average before training."""


@dataclass(frozen=True, kw_only=True)
class Representations:
    """How N pictures are represented after each of L layers, and what each block adds."""

    layers: tuple[str, ...]
    """L names; the first is what enters the first block."""
    unit: str
    """What the layers are: "block" or "stage"."""
    branches: Mapping[str, Floats]
    """Kind of residual branch to (blocks, N): its norm divided by that of what it is added to."""
    token_similarity: Floats
    """(L, N): mean cosine similarity of two tokens of a picture."""
    step_similarity: Floats | None
    """(L - 1, N): cosine similarity of a picture's mean token before and after a layer; None
    where layers differ in width."""
    alignment: Floats | None
    """(L, L): linear CKA of mean tokens, at most 1; None of too few pictures."""
    agreement: Floats | None
    """(L,): share of the pictures for which the head, put behind a layer, already gives the final
    answer; None where the head does not fit."""
    accuracy: Floats | None
    """(L,): share for which that answer is right; None without labels."""

    @property
    def images(self) -> int:
        """Number of pictures, N."""
        return self.token_similarity.shape[1]


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Which patches of a picture the prediction rests on.

    All maps are (h, w), in log-odds of the predicted class: +1 multiplies the odds by 2.7.
    """

    picture: NDArray[np.uint8]
    """(H, W, 3), as the model sees it."""
    name: str
    """The picture's file or key."""
    predicted: str
    probability: float
    true: str | None
    """The right class where it is known: of several the predicted one if it is among them."""
    occlusion: Floats
    """What is lost by painting a patch over with the picture's mean colour."""
    occluded_probability: Floats
    """Probability of the predicted class with that patch painted over, in [0, 1]."""
    gradient_input: Floats
    """The gradient's estimate of the same loss."""
    sensitivity: Floats
    """Norm of the gradient for the patch's pixels, a change for one unit of the input's range."""


@dataclass(frozen=True, kw_only=True)
class InspectionContents:
    """All that the page shows. What is None or empty is left out, with a note why."""

    name: str
    """What was inspected, as the user called it."""
    model: str
    data: str | None
    """Where the pictures are from."""
    facts: Mapping[str, str]
    stem_filters: Floats | None
    """(C, P, P', 3)."""
    token_mixing: TokenMixings | None
    representations: Representations | None
    attributions: tuple[Attribution, ...]
    notes: Mapping[str, str] = field(default_factory=dict)
    """Section to what is missing there and why: "stem", "token_mixing", "representations",
    "pictures"."""
    commands: Mapping[str, str] = field(default_factory=dict)
