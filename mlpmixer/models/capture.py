"""Every intermediate value of a model, by name.

Names are the modules' own paths ("stem", "blocks.3.mlp_tokens.act"); with ".input" behind them
they mean what enters the module: "blocks.3.norm2.input" is the table U of block 3, after token
mixing and before channel mixing. It works for every family, and costs nothing when not used.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mlpmixer.errors import UsageError, unknown_name

_INPUT = ".input"


def intermediate_names(model: nn.Module) -> list[str]:
    """Return the names of all values that `capture` can return, in the order of definition."""
    lists = nn.ModuleList | nn.ModuleDict  # never run themselves
    modules = [name for name, one in model.named_modules() if name and not isinstance(one, lists)]
    return [value for name in modules for value in (name + _INPUT, name)]


def capture(
    model: nn.Module,
    images: Tensor,
    names: Sequence[str] | None = None,
    *,
    partial: bool = False,
) -> dict[str, Tensor]:
    """Run `model` on images (B, 3, H, W) in [-1, 1] and return the values named.

    Args:
        model: any model of `create_model`.
        images: (B, 3, H, W) in [-1, 1].
        names: some of `intermediate_names(model)`; None returns all of them.
        partial: leave out named values that the model does not compute, instead of raising.

    Returns:
        The values by name, in order of computation, and the "logits". A module that runs more
        than once is represented by its last run; one that never runs is left out of "all".

    Raises:
        UsageError: a name is unknown, or its module never runs: a block may compute with the
            parameters of a module and not call it.
    """
    known = intermediate_names(model)
    for name in names or ():
        if name not in known:
            raise unknown_name("intermediate value", name, known)
    wanted = set(known if names is None else names)
    values: dict[str, Tensor] = {}
    handles = []
    for path, module in model.named_modules():
        if path + _INPUT in wanted:

            def keep_input(_: nn.Module, inputs: tuple[Any, ...], name: str = path) -> None:
                values[name + _INPUT] = inputs[0]

            handles.append(module.register_forward_pre_hook(keep_input))
        if path in wanted:

            def keep_output(_: nn.Module, __: Any, output: Any, name: str = path) -> None:
                values[name] = output

            handles.append(module.register_forward_hook(keep_output))
    try:
        values["logits"] = model(images)
    finally:
        for handle in handles:
            handle.remove()
    for name in names or ():
        if name not in values and not partial:
            raise UsageError(f"{name!r} is not computed on its own: its module never runs.")
    return values
