"""Whether a .pt2 file is a plain graph of tensor operations, and nothing that could run code.

PyTorch's reader trusts such files: it unpickles what they ask it to, evaluates expressions for
sizes as Python, and takes any attribute of its own modules for an operation. So a file is gone
through first, and only what a traced network consists of is let pass.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.weights.exported.program_operations import computes

FORMAT = "archive_format"
"""The entry by which PyTorch knows its own archives."""
GRAPH = "models/model.json"
EMPTY = "data/sample_inputs/model.pt"
"""An entry that is a pickle where it is not empty."""
NATIVE = "data/aotinductor/"
"""Where compiled code lies."""
EXTRA = "extra/"
_TABLES = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_ENTRIES = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.]+|archive_version|byteorder"
    r"|\.data/\w+"
)
_SIZE = re.compile(r"(Symbol|Integer|Add|Mul|'s\d{1,9}'|positive|integer|True|-?\d{1,18}|[=(), ])*")
"""An expression of batch sizes, as SymPy writes it."""
_TYPES = {"builtins.tuple", "builtins.list", "builtins.dict", None}
_ARGUMENTS = {
    *("as_tensor", "as_tensors", "as_optional_tensors", "as_none", "as_int", "as_ints", "as_bool"),
    *("as_bools", "as_float", "as_floats", "as_string", "as_scalar_type", "as_device", "as_name"),
    *("as_layout", "as_memory_format", "as_sym_int", "as_sym_ints", "as_sym_bool", "as_expr"),
}
_NEVER = ("metadata", "custom_obj_values", "treespec_namedtuple_fields", "guards_code")
"""Parts of a graph that have to be empty."""


def entries_of(path: Path) -> dict[str, bytes]:
    """Return the entries of an archive without the folder that all lie in.

    Raises:
        MixerError: it is damaged, or claims to be larger than it is.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
                raise MixerError(f"{path} is refused: it is compressed, which PyTorch's are not.")
            found = {info.filename.partition("/")[2]: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError) as error:
        # RuntimeError: an entry is encrypted, or packed in a way that Python does not know.
        raise MixerError(f"{path} cannot be read: {error}. Copy it again.") from error
    if len(found) != len(infos):
        raise MixerError(f"{path} is refused: it holds an entry twice.")
    return found


def checked_archive(entries: dict[str, bytes], path: Path) -> BytesIO:
    """Return entries that cannot run code as a new archive, which is what PyTorch then reads.

    Raises:
        UsageError: they are those of another program than `mixer export` writes.
        MixerError: they are damaged.
    """
    for name, content in entries.items():
        if name == EMPTY and content:
            raise _refusal(path, "it holds pickled objects")
        if name not in (FORMAT, GRAPH, EMPTY, *_TABLES) and not _ENTRIES.fullmatch(name):
            raise _refusal(path, f"it holds {name!r}")
    try:
        for table in _TABLES:
            for one in json.loads(entries[table])["config"].values():
                where = str(one["path_name"])
                if one["use_pickle"] is not False or not re.fullmatch(
                    r"(weight|tensor)_\d+", where
                ):
                    raise _refusal(path, "it holds pickled objects")
        _check_graph(json.loads(entries[GRAPH]), path)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, MixerError):
            raise
        raise MixerError(f"{path} is damaged: its graph is not as it must be.") from error
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(f"model/{name}", content)
    stream.seek(0)
    return stream


def _check_graph(program: Any, path: Path) -> None:
    for key, value in _pairs(program):
        if key == "target" and not computes(value):
            raise _refusal(path, f"its graph calls {value[:80]!r}")
        if key == "expr_str" and not _SIZE.fullmatch(value):
            raise _refusal(path, f"its graph evaluates {value[:80]!r}")
        if key in _NEVER and value:
            raise _refusal(path, f"its graph has {key}")
        if key in ("in_spec", "out_spec"):
            _check_specification(value, path)
        if key.startswith("as_") and key not in _ARGUMENTS:
            raise _refusal(path, f"its graph has an argument {key}")


def _check_specification(value: str, path: Path) -> None:
    """Check how inputs and outputs are grouped: in tuples, lists and dictionaries alone."""
    _, tree = json.loads(value)
    for key, kind in _pairs(tree):
        if key == "type" and kind not in _TYPES:
            raise _refusal(path, f"its graph makes a {kind}")


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _refusal(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{path} is refused: {reason}, which could run code or change files. Read are programs of "
        "plain tensor operations, as `mixer export --format torch` writes them."
    )
