"""Dropout that belongs to a position of the batch, however the batch is shared out.

A training step passes its batch through the model in one piece, in parts one after the other, or
in shares on several processes. What is dropped at random is the same in all three: each layer draws
for the whole batch, from a generator that is seeded alike for every part, and keeps what belongs to
the positions that it is shown. That costs the draws of the whole batch for each of its parts, in
memory too; stochastic depth draws a number an image, dropout one a value.
"""

import sys
from typing import cast

import torch
from torch import Tensor, nn

from mlpmixer.models.layers import StochasticDepth

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Positions:
    """Which positions of a batch the model is shown next; its random layers share one."""

    batch: int = 0
    """How many images the whole batch has."""
    shown: Tensor | None = None
    """(b,) int64, on the model's device; None while it is shown whole batches."""


class _Drawn(nn.Module):
    """A layer that multiplies by a random mask, (B, …): drawn for the batch, cut to its part."""

    positions: Positions
    for_images: bool
    """Whether a mask has a value for an image, not for each of the image's values."""

    def forward(self, values: Tensor) -> Tensor:
        shown = self.positions.shown
        if not self.training or shown is None or _probability(self) == 0:
            return cast(Tensor, super().forward(values))
        ones = _ones(self.positions.batch, values, single=self.for_images)
        return values * cast(Tensor, super().forward(ones)).index_select(0, shown)


def draw_by_position(model: nn.Module) -> Positions:
    """Let a model's dropout and stochastic depth draw by position, and return what says which.

    Layers of other kinds that draw by themselves, in models from elsewhere, are not reached: there
    a share of a batch is as random as the whole, but not the same.
    """
    positions = Positions()
    kinds: dict[type[nn.Module], type[nn.Module]] = {}
    for module in model.modules():
        kind, single = type(module), isinstance(module, _image_dropping())
        if not single and not isinstance(module, _DROPOUTS):
            continue
        if kind not in kinds:
            kinds[kind] = type(kind.__name__, (_Drawn, kind), {"for_images": single})
        module.__class__ = kinds[kind]
        module.positions = positions  # type: ignore[assignment]
    return positions


def _probability(layer: nn.Module) -> float:
    """Return how much a layer drops, by the name that its kind has for it."""
    names = ("p", "probability", "drop_prob")
    return next((float(vars(layer)[one]) for one in names if vars(layer).get(one) is not None), 1.0)


def _image_dropping() -> tuple[type[nn.Module], ...]:
    """Return the kinds of layers that drop whole branches of an image."""
    if "timm.layers" not in sys.modules:
        return (StochasticDepth,)
    from timm.layers import DropPath

    return (StochasticDepth, DropPath)


def _ones(batch: int, values: Tensor, *, single: bool) -> Tensor:
    """Return ones like `values` (b, …), for `batch` images and in the same order in memory."""
    rest = values.shape[1:]
    if single:
        return values.new_ones(batch, *(1 for _ in rest))
    order = sorted(range(len(rest)), key=lambda one: -values.stride(one + 1))
    ones = values.new_ones(batch, *(rest[one] for one in order))
    back = torch.tensor(order, dtype=torch.int64).argsort().tolist() if order else []
    return ones.permute(0, *(one + 1 for one in back))
