"""Stand-ins for the foreign objects in a PyTorch checkpoint, which are put aside unread.

Trainers store more than tensors: their arguments, paths, numbers of NumPy. None of it is needed
here, and none of it is imported: while a checkpoint is read, PyTorch's restricted unpickler is
handed an inert class in place of each name that the file mentions. So nothing that a file names
is ever run. Where a file asks to call a function all the same, it is refused and the function
named, so that its owner learns of it; a call that builds a value is let pass.
"""

import sys
from _compat_pickle import IMPORT_MAPPING  # what the standard library was called in Python 2
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

_BUILTINS = "bool bytearray bytes complex dict float frozenset int list object range set slice str"
_PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"

HARMLESS_CALLS = frozenset(
    {
        "argparse.Namespace",
        "collections.Counter",
        "collections.defaultdict",
        "collections.deque",
        "copyreg._reconstructor",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "functools.partial",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__randomstate_ctor",
        "torch.torch_version.TorchVersion",
        "torchvision.transforms.functional.InterpolationMode",
        "types.MappingProxyType",
        "types.SimpleNamespace",
        "uuid.UUID",
        *(f"builtins.{kind}" for kind in [*_BUILTINS.split(), "tuple"]),
        *(f"pathlib.{kind}" for kind in _PATHS.split()),
        *(f"pathlib._local.{kind}" for kind in _PATHS.split()),  # Python 3.13
    }
)
"""What a file may call: each builds a value, and here not even that."""


class Refused(Exception):
    """A checkpoint asks to call a function; its name is the only argument."""


def builds_a_value(name: str) -> bool:
    """Tell whether calling what has this full name builds a value, rather than do something.

    So do the listed ones, and classes outside the standard library: those begin with a capital.
    """
    module, _, last = name.rpartition(".")
    if name in HARMLESS_CALLS or module.startswith("numpy.random"):
        return True
    standard = module.split(".")[0] in sys.stdlib_module_names or module in IMPORT_MAPPING
    return last[:1].isupper() and not standard


class _Refusing(type):
    """The class of stand-ins that may be mentioned, but not called."""

    def __call__(cls, *_: Any, **__: Any) -> Any:
        raise Refused(cls.__name__)


class _Opaque(list[Any]):
    """An object that takes any state and any items, and keeps no state."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return list.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _Mapping(_Opaque):
    """An object that is a dictionary or has attributes: both are kept, for weights may be there."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()  # the unpickler puts items into no subclass of it


def stand_ins(
    names: Iterable[str], *, as_mappings: bool
) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what `torch.serialization.safe_globals` takes for the `names` that a file mentions.

    Args:
        names: full names of classes and functions.
        as_mappings: let objects of unknown classes be dictionaries, as those of configuration
            libraries are, or objects with attributes; else objects with any other state.
    """
    made: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    for name in names:
        unknown = as_mappings and name not in HARMLESS_CALLS
        base = _Mapping if unknown or name == "collections.defaultdict" else _Opaque
        kind = type if builds_a_value(name) else _Refusing
        made.append((kind(name, (base,), {}), name))
    return made
