"""Files full of tensors, told apart by their content and opened without running what is in them."""

import json
import struct
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import check_utf8
from mlpmixer.weights.npz_files import open_npz
from mlpmixer.weights.other_files import READ, what_archive, what_it_is
from mlpmixer.weights.tensor_table import TensorTable
from mlpmixer.weights.torch_files import open_torch

LARGEST_COMPRESSION = 100
"""How many times larger than its stored form an entry may claim to be; weights reach about 1.1."""
LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors file's list of tensors, the format's own limit."""
ZIP = b"PK\x03\x04"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of PyTorch before 1.6 begin: with a number, pickled."""


def open_tensors(path: Path) -> list[TensorTable]:
    """Open a file of weights, whatever its name ends with.

    Returns:
        Its tables: one, or for a checkpoint of PyTorch one a dictionary of tensors.

    Raises:
        UsageError: there is no such file, or it is of another kind; the message says of which.
        MixerError: it is damaged, or asks to run code.
    """
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r}.")
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if start.startswith(ZIP):
        return _open_archive(path)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < LONGEST_HEADER:
        return [_open_safetensors(path)]
    other = what_it_is(path)
    if other is not None:
        raise UsageError(f"{path} {other}")
    if start == LEGACY:
        return open_torch(path)
    if start.startswith(PICKLES):
        raise UsageError(
            f"{path} is a pickle of Python, which is not read because it might run code. {READ}"
        )
    raise UsageError(f"{path} is of an unknown kind. {READ}")


def _open_archive(path: Path) -> list[TensorTable]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise MixerError(
            f"{path} is damaged: its end is missing. Download or copy it again."
        ) from error
    for entry in entries:
        if entry.file_size > LARGEST_COMPRESSION * max(entry.compress_size, 1):
            raise MixerError(
                f"{path}: the entry {entry.filename!r} claims {entry.file_size:,} bytes out of "
                f"{entry.compress_size:,}: not unpacked."
            )
    names = [entry.filename for entry in entries]
    if names and all(name.endswith(".npy") for name in names):
        try:
            return [open_npz(path)]
        except (ValueError, OSError, struct.error, zipfile.BadZipFile, EOFError) as error:
            raise MixerError(f"{path} is damaged: {error}. Download or copy it again.") from error
    program = any(name.endswith("/constants.pkl") for name in names)
    if program or not any(name.endswith("/data.pkl") for name in names):
        raise UsageError(f"{path} {what_archive(names)}")
    return open_torch(path)


def _open_safetensors(path: Path) -> TensorTable:
    check_utf8(path)
    try:
        stored = safe_open(path, framework="pt")
        names = list(stored.keys())
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise MixerError(
            f"{path} is damaged: {_damage(path)} Download or copy it again."
        ) from error
    return TensorTable(path, shapes, stored.get_tensor, stored.metadata() or {})


def _damage(path: Path) -> str:
    """Return what is wrong with a safetensors file, as far as it can be told."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > size - 8:
            return f"it ends after {size:,} bytes, within the list of its tensors."
        try:
            header = json.loads(file.read(length))
            ends = [one["data_offsets"][1] for name, one in header.items() if name[:2] != "__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "the list of its tensors is spoilt."
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        return f"it ends after {size:,} of {whole:,} bytes."
    return "its tensors do not lie where its list says."
