"""Weights inside a trainer's checkpoint: found by what they are, whatever is wrapped around them.

Trainers put a state dict into a dictionary ("state_dict", "model", "model_ema"), and wrappers put
a prefix before its names ("module." of DataParallel, "_orig_mod." of torch.compile, "net." of a
class of one's own). Neither is listed here: a prefix is whatever has to be taken off for a layout
to know the names.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpmixer.errors import UsageError
from mlpmixer.weights.layout import Layout
from mlpmixer.weights.tensor_table import TensorTable, plain_names

_AVERAGED = re.compile(r"(?i)(^|[._/])(ema|swa|shadow|avg|averaged?)([._/]|$)")
_COUNTERS = ("n_averaged",)
"""What averaging wrappers keep beside the weights."""


@dataclass(frozen=True)
class NestedWeights:
    """The weights of one network in a checkpoint."""

    table: TensorTable
    """Their tensors, by the names that the layout knows."""
    layout: Layout
    beside: tuple[str, ...]
    """Names of tensors in the same dictionary that belong to no network found."""

    @property
    def label(self) -> str:
        """Where they are, such as "state_dict_ema" or "model.module"; "top" for the file itself."""
        return self.table.part or "top"

    @property
    def averaged(self) -> bool:
        """Whether they are a running average over the training, by what they are called."""
        return _AVERAGED.search(self.label) is not None


def find_networks(
    tables: Sequence[TensorTable], layouts: Mapping[str, Layout]
) -> list[NestedWeights]:
    """Return every network of a known layout in a file, each once."""
    found: list[NestedWeights] = []
    for table in tables:
        groups = _by_prefix(plain_names(table.shapes))
        here = [
            (prefix, layout)
            for prefix, names in groups.items()
            for layout in layouts.values()
            if layout.matches(names)
        ]
        here.sort(key=lambda one: one[0].count(".") + one[0].count("/"), reverse=True)
        taken: set[str] = set()
        inside = []
        for prefix, layout in here:  # the innermost first: it is no part of one around it
            names = {name: own for name, own in groups[prefix].items() if own not in taken}
            taken.update(names.values())
            label = ".".join(filter(None, (table.part, prefix.rstrip("./"))))
            inside.append((table.renamed(label, names), layout))
        rest = [name for name in table.shapes if name not in taken]
        beside = tuple(sorted(name for name in rest if name.split(".")[-1] not in _COUNTERS))
        for network, layout in reversed(inside):
            if not any(_same(network, other.table) for other in found):
                found.append(NestedWeights(network, layout, beside))
    return found


def choose(
    found: Sequence[NestedWeights], path: Path, wanted: str | None
) -> tuple[NestedWeights, str | None]:
    """Return the network to take, and what the user should know about the choice.

    Args:
        found: at least one.
        path: the file, for messages.
        wanted: "averaged", "plain", or a label; None takes the averaged weights where there is
            one of each kind, as timm does.

    Raises:
        UsageError: there is none of that kind, or several that nothing tells apart.
    """
    ways = {"averaged": [one for one in found if one.averaged]}
    ways["plain"] = [one for one in found if not one.averaged]
    if wanted is None:
        fitting = ways["averaged"] if len(ways["plain"]) == 1 and ways["averaged"] else list(found)
    else:
        fitting = ways.get(wanted, [one for one in found if one.label == wanted])
    labels = ", ".join(repr(one.label) for one in found)
    if not fitting:
        raise UsageError(f"{path} has no weights {wanted!r}: it has {labels}.")
    if len(fitting) > 1:
        raise UsageError(
            f"{path} has the weights of several networks, {labels}: choose one, as in "
            f"{path}#{fitting[0].label}."
        )
    (chosen,) = fitting
    remarks = []
    if wanted is None and len(found) > 1:
        remarks.append(
            f"{path} has averaged and plain weights. Taken are the averaged ones "
            f"({chosen.label}); for the others say {path}#plain."
        )
    if chosen.beside:
        count = len(chosen.beside)
        remarks.append(
            f"{path}: left out {count} tensor{'s' * (count > 1)} beside the Mixer, such as "
            f"{chosen.beside[0]!r}."
        )
    return chosen, " ".join(remarks) or None


def _by_prefix(names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return, by all that names begin with up to a dot or a slash, the names without it.

    Each comes with what it is called in the table; "" is a prefix too.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, own in names.items():
        ends = [0, *(match.end() for match in re.finditer(r"[./]", name))]
        for end in ends:
            groups.setdefault(name[:end], {})[name[end:]] = own
    return groups


def _same(one: TensorTable, other: TensorTable) -> bool:
    """Tell whether two tables are the same tensors in memory, as one dictionary under two keys."""
    if one.shapes != other.shapes:
        return False
    first, second = (table.read(next(iter(one.shapes))) for table in (one, other))
    return first.data_ptr() == second.data_ptr()
