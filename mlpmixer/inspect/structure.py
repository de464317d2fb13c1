"""The layers of a network that can be compared with each other, and the branches between them."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlpmixer.models.capture import intermediate_names
from mlpmixer.models.interface import ImageModel

_BRANCHES = {
    "token mixing": ("mlp_tokens", "norm1"),
    "channel mixing": ("mlp_channels", "norm2"),
    "attention": ("drop_path1", "norm1"),
    "MLP": ("drop_path2", "norm2"),
}
"""A kind of residual branch to the modules of a block that end it and begin it."""


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

    @property
    def names(self) -> list[str]:
        """All names, each once."""
        inner = [
            name for kind in self.branches.values() for b in kind for name in (b.branch, b.stream)
        ]
        return list(dict.fromkeys([*self.values.values(), *inner]))


def layers_of(network: ImageModel) -> Layers | None:
    """Return the layers of a network; None where its structure is unknown."""
    blocks = network.block_names
    if not blocks:
        return None
    known = set(intermediate_names(network))
    branches = {
        kind: tuple(Branch(f"{block}.{end}", f"{block}.{begin}.input") for block in blocks)
        for kind, (end, begin) in _BRANCHES.items()
        if all({f"{block}.{end}", f"{block}.{begin}"} <= known for block in blocks)
    }
    return Layers(
        unit="block" if "blocks" in blocks[0].split(".") else "stage",
        values={"stem": f"{blocks[0]}.input", **{str(i + 1): b for i, b in enumerate(blocks)}},
        branches=branches,
    )
