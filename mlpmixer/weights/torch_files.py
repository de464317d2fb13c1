"""PyTorch's own files, read without running or importing anything that they mention."""

import io
import pickletools
import struct
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # Python 2's names, which files use
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.weights.stand_ins import Refused, stand_ins
from mlpmixer.weights.tensor_table import TensorTable

DEEPEST = 4
"""How many dictionaries within each other are searched for weights."""
LEGACY_PICKLES = 4
"""How many a file from before PyTorch 1.6 begins with: a number, the version, the system, and the
content; then come the tensors' values."""
LONGEST_PICKLES = 64 * 1024 * 1024
"""Bytes that are searched for the names in them; those of large models take one."""
SAVE_AGAIN = "Save the weights alone where it was made: torch.save(model.state_dict(), ...)."
_BLOCKED = ("sys", "os", "posix", "nt")
"""Modules that PyTorch's reader refuses whatever stands in for them."""
_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
    struct.error,
)
"""What PyTorch's reader raises on files that are cut off or spoilt."""


def open_torch(path: Path) -> list[TensorTable]:
    """Open a file of `torch.save`: each dictionary in it that holds tensors is a table.

    Of a whole model that was saved with its code, the tensors are read and the code is not.

    Raises:
        UsageError: it holds no tensors with names.
        MixerError: it is damaged, or asks to run code.
    """
    content = _load(path)
    tables = []
    for place, tensors in _dictionaries(content):
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        tables.append(TensorTable(path, shapes, tensors.__getitem__, part=".".join(place)))
    if not tables:
        kind = type(content).__name__
        raise UsageError(f"{path} holds no tensors with names, but a {kind}. {SAVE_AGAIN}")
    return tables


def _load(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    names = _names(path, zipped)
    for name in names:
        if name.split(".")[0] in _BLOCKED:
            raise _refusal(path, name)
    failure: Exception | None = None
    for as_mappings in (True, False):
        allowed = stand_ins(names, as_mappings=as_mappings)
        try:
            with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
                warnings.simplefilter("ignore")  # remarks on how the file was pickled
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        except Refused as error:
            raise _refusal(path, str(error)) from None
        except _DAMAGE as error:
            failure = error  # perhaps an object that is no dictionary
    raise MixerError(
        f"{path} is damaged, or pickled in a way that is not read. Copy it again. {SAVE_AGAIN}"
    ) from failure


def _names(path: Path, zipped: bool) -> list[str]:
    """Return the full names of all classes and functions that a file mentions."""
    try:
        if not zipped:
            with path.open("rb") as file:
                start = io.BytesIO(file.read(LONGEST_PICKLES))
            return sorted({name for _ in range(LEGACY_PICKLES) for name in _mentioned(start)})
        with zipfile.ZipFile(path) as archive:
            (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            return sorted(set(_mentioned(io.BytesIO(archive.read(pickled)))))
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        raise MixerError(f"{path} is damaged. Download or copy it again.") from error


def _mentioned(pickled: IO[bytes]) -> Iterator[str]:
    """Yield the names in one pickle, and what Python 3 calls them, and move behind it."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield f"{module}.{name}"
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[module, name]
            yield f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _refusal(path: Path, name: str) -> MixerError:
    return MixerError(
        f"{path} is refused: reading it would call {name}, and code in files is never run. "
        f"{SAVE_AGAIN}"
    )


def _dictionaries(content: object) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield every dictionary that holds tensors, once, with the shortest keys that lead to it."""
    waiting: deque[tuple[tuple[str, ...], object]] = deque([((), content)])
    seen: set[int] = set()
    while waiting:
        place, one = waiting.popleft()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        items = _items(one)
        tensors = {str(key): value.detach() for key, value in items if isinstance(value, Tensor)}
        tensors |= dict(_of_module(one))
        if tensors:
            yield place, tensors
        if len(place) < DEEPEST:
            waiting.extend(((*place, str(key)), value) for key, value in items)


def _of_module(content: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module of PyTorch, of which the attributes are left.

    A module that is found again is left out, for it may be within itself.
    """
    waiting = [("", content)]
    seen: set[int] = set()
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        attributes = getattr(module, "__dict__", {})
        for kind in ("_parameters", "_buffers"):
            for name, value in _items(attributes.get(kind)):
                if isinstance(value, Tensor):
                    yield f"{prefix}{name}", value.detach()
        inside = _items(attributes.get("_modules"))
        waiting.extend((f"{prefix}{name}.", one) for name, one in reversed(inside))


def _items(value: object) -> list[tuple[Any, Any]]:
    # Not by a method of the dictionary's own: the file may have put something in its place.
    return list(dict.items(value)) if isinstance(value, dict) else []
