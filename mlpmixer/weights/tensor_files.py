"""Files full of tensors, read lazily and without ever running what is in them.

Names and shapes are known before a number is read, so that a file of the wrong kind costs nothing;
numbers are mapped from the disk where the format allows it, so that a large model is in memory
once.
"""

import mmap
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError

LARGEST_COMPRESSION = 100
"""How many times larger than its stored form an entry may claim to be; weights reach about 1.1."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip entry: signature, lengths of name and extra


class TensorFile(NamedTuple):
    """The tensors of a file."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str]


def open_tensors(path: Path) -> TensorFile:
    """Open a .safetensors, .npz, .pth, .pt or .bin file.

    Raises:
        UsageError: there is no such file, or its kind is unknown.
        MixerError: it is damaged, or holds something else than tensors.
    """
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r}.")
    suffix = path.suffix.lower()
    if suffix not in _OPENERS:
        known = ", ".join(_OPENERS)
        raise UsageError(f"{path} is of an unknown kind: weights come as {known}.")
    try:
        return _OPENERS[suffix](path)
    except MixerError:
        raise
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MixerError(f"{path} is damaged or no weights file: {reason}") from error


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise MixerError if a tensor has a value that is not a finite number."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise MixerError(f"{source}: the tensor {name!r} has values that are not finite.")


def _open_safetensors(path: Path) -> TensorFile:
    stored = safe_open(path, framework="pt")
    names = stored.keys()
    shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
    return TensorFile(path, shapes, stored.get_tensor, stored.metadata() or {})


def _open_torch(path: Path) -> TensorFile:
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = content if isinstance(content, dict) else {}
    foreign = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if not tensors or foreign:
        what = f"{foreign[0]!r} is no tensor" if foreign else "it holds no tensors"
        raise MixerError(f"{path} is no state dict: {what}.")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return TensorFile(path, shapes, tensors.__getitem__, {})


def _open_npz(path: Path) -> TensorFile:
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # changes stay private
    archive = zipfile.ZipFile(path)
    arrays = {}
    for entry in archive.infolist():
        if entry.file_size > LARGEST_COMPRESSION * max(entry.compress_size, 1):
            raise MixerError(
                f"{path}: the entry {entry.filename!r} claims {entry.file_size:,} bytes out of "
                f"{entry.compress_size:,}: not unpacked."
            )
        name = entry.filename.removesuffix(".npy")
        arrays[name] = _npz_array(archive, entry, mapped)
    shapes = {name: shape for name, (shape, _) in arrays.items()}
    return TensorFile(path, shapes, lambda name: arrays[name][1](), {})


def _npz_array(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, mapped: mmap.mmap
) -> tuple[tuple[int, ...], Callable[[], Tensor]]:
    """Return an entry's shape, and how to read it."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"the entry {entry.filename!r} has the unknown version {version}")
        shape, fortran_order, dtype = read_header(file)
        header = file.tell()
    if dtype.kind != "f":
        raise MixerError(f"{archive.filename}: the entry {entry.filename!r} holds no numbers.")
    expected = header + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if entry.file_size != expected:
        raise ValueError(
            f"the entry {entry.filename!r} has {entry.file_size} bytes, not {expected}"
        )
    order: Literal["F", "C"] = "F" if fortran_order else "C"

    def read() -> Tensor:
        if entry.compress_type == zipfile.ZIP_STORED:
            at = entry.header_offset
            _, name, extra = _LOCAL_HEADER.unpack_from(mapped, at)
            begin = at + _LOCAL_HEADER.size + name + extra + header
            array = np.ndarray(shape, dtype, mapped, begin, order=order)
        else:
            content = bytearray(archive.read(entry))
            array = np.ndarray(shape, dtype, content, header, order=order)
        if not dtype.isnative:
            array = array.astype(dtype.newbyteorder("="))
        return torch.from_numpy(array)

    return tuple(shape), read


_OPENERS: dict[str, Callable[[Path], TensorFile]] = {
    ".safetensors": _open_safetensors,
    ".npz": _open_npz,
    ".pth": _open_torch,
    ".pt": _open_torch,
    ".bin": _open_torch,
}
_DAMAGE = (
    SafetensorError,
    UnpicklingError,
    zipfile.BadZipFile,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
)
