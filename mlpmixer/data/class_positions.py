"""Classes are matched by their names, in the one form that all names have when they are printed."""

from collections.abc import Sequence

from mlpmixer.formatting import printable


def class_positions(known: Sequence[str], wanted: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return where the wanted classes stand among the known ones, and which are not among them.

    Args:
        known: names of classes, which differ, (K,).
        wanted: names to look for, (N,).

    Returns:
        The positions in `known` of those that are there, in the order of `wanted`, and the others'
        names, printable.
    """
    position = {printable(name): place for place, name in enumerate(known)}
    names = [printable(name) for name in wanted]
    found = [position[name] for name in names if name in position]
    return found, [name for name in names if name not in position]
