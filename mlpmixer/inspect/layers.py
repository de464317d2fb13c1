"""The layers of a model of any family that can be compared with each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mlpmixer.models.capture import intermediate_names
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.shuffle import ShuffledInput

_CONTAINERS = ("blocks", "stages", "layers")
"""What timm's networks call the list of their blocks or stages."""


@dataclass(frozen=True)
class Branch:
    """A residual branch, and the stream that it is added to, by the names of `capture`."""

    branch: str
    stream: str


@dataclass(frozen=True)
class Layers:
    """What can be compared, by the names of `capture`."""

    unit: str
    """"block" or "stage"."""
    values: Mapping[str, str]
    """The title of each layer, "stem", "1", "2", …, to the name of what it puts out."""
    branches: Mapping[str, tuple[Branch, ...]]
    """The title of a kind of residual branch to its places in all blocks."""
    channels_last: bool

    @property
    def names(self) -> list[str]:
        """All names, each once."""
        inner = [
            name for kind in self.branches.values() for b in kind for name in (b.branch, b.stream)
        ]
        return list(dict.fromkeys([*self.values.values(), *inner]))


def network(model: ImageModel) -> tuple[ImageModel, str]:
    """Return the network itself and the prefix of its modules' names, behind a shuffled input."""
    return (model.model, "model.") if isinstance(model, ShuffledInput) else (model, "")


def layers_of(model: ImageModel) -> Layers | None:
    """Return the layers of a model; None where its structure is unknown."""
    inner, prefix = network(model)
    if isinstance(inner, Mixer):
        blocks = [f"{prefix}blocks.{i}" for i in range(inner.config.depth)]
        branches = {
            "token mixing": tuple(Branch(f"{b}.mlp_tokens", f"{b}.norm1.input") for b in blocks),
            "channel mixing": tuple(
                Branch(f"{b}.mlp_channels", f"{b}.norm2.input") for b in blocks
            ),
        }
        return Layers("block", _titled(blocks), branches, channels_last=False)
    net: Any = getattr(inner, "net", None)
    prefix += "net."
    known = set(intermediate_names(model))
    container = next((name for name in _CONTAINERS if hasattr(net, name)), None)
    if container is not None:
        blocks = [f"{prefix}{container}.{i}" for i in range(len(getattr(net, container)))]
    else:
        stages = [entry["module"] for entry in getattr(net, "feature_info", ())]
        blocks = [f"{prefix}{stage}" for stage in stages]
    blocks = [block for block in blocks if block in known]
    if not blocks:
        return None
    return Layers(
        "block" if container == "blocks" else "stage",
        _titled(blocks),
        _transformer_branches(blocks, known),
        channels_last=getattr(net, "output_fmt", "NCHW") == "NHWC",
    )


def as_tokens(value: Tensor, channels_last: bool) -> Tensor:
    """Return a layer's value as tokens (B, S, C).

    A map is (B, C, h, w), or (B, h, w, C) where `channels_last`; what is three-dimensional stays.
    """
    if value.ndim == 4:
        return value.flatten(1, 2) if channels_last else value.flatten(2).mT
    return value


def _titled(blocks: list[str]) -> dict[str, str]:
    return {"stem": f"{blocks[0]}.input", **{str(i + 1): name for i, name in enumerate(blocks)}}


def _transformer_branches(blocks: list[str], known: set[str]) -> dict[str, tuple[Branch, ...]]:
    """Return the branches of timm's transformer blocks; nothing for other blocks."""
    kinds = {"attention": ("drop_path1", "norm1"), "MLP": ("drop_path2", "norm2")}
    found = {}
    for kind, (branch, norm) in kinds.items():
        places = tuple(Branch(f"{b}.{branch}", f"{b}.{norm}.input") for b in blocks)
        if all({place.branch, place.stream} <= known for place in places):
            found[kind] = places
    return found
