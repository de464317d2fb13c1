"""What only one process can do is refused where torchrun has started several."""

from mlpmixer.errors import UsageError
from mlpmixer.ranks import Ranks


def need_one_process(verb: str) -> None:
    """Raise UsageError where this process is one of several that torchrun started.

    Each would do all of the work, and write over what the others have written.
    """
    world = Ranks.of_environment().world
    if world > 1:
        raise UsageError(
            f"`mixer {verb}` works in one process, and here are {world}: start it without torchrun."
        )
