"""NumPy's .npz files: arrays mapped from the disk, without ever unpickling what is in them."""

import math
import mmap
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlpmixer.errors import MixerError
from mlpmixer.weights.tensor_table import TensorTable

LARGEST_NUMBER = 8
"""Bytes of a number; PyTorch has none of NumPy's long doubles."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip entry: signature, lengths of name and extra


def open_npz(path: Path) -> TensorTable:
    """Open an archive of arrays.

    Raises:
        MixerError: an entry is no array of numbers.
        ValueError, zipfile.BadZipFile: the archive is damaged.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # changes stay private
    archive = zipfile.ZipFile(path)
    arrays = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        arrays[name] = _array(archive, entry, mapped)
    shapes = {name: shape for name, (shape, _) in arrays.items()}
    return TensorTable(path, shapes, lambda name: arrays[name][1]())


def as_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array of the same values; bfloat16, which NumPy lacks, as float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _array(
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
    if dtype.kind not in "fiub" or dtype.itemsize > LARGEST_NUMBER:
        raise MixerError(f"{archive.filename}: the entry {entry.filename!r} holds no numbers.")
    expected = header + math.prod(shape) * dtype.itemsize
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
