"""The index of a packed data set: what each shard holds, and by which it is known to be whole.

`index.json` beside the shards appears when all of them are written. Until then a hidden folder
holds a record for each finished one, from which a pack that was stopped goes on.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlpmixer.data.class_list import INDEX
from mlpmixer.data.pack_plan import PackPlan
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import write_text
from mlpmixer.json_text import json_text

UNFINISHED = ".packing"
FORM = "mlpmixer-pack-1"


@dataclass(frozen=True)
class Left:
    """An image that could not be read and is in no shard."""

    name: str
    reason: str


@dataclass(frozen=True)
class ShardRecord:
    """One finished shard."""

    name: str
    split: str
    images: int
    bytes: int
    sha256: str
    per_class: tuple[int, ...]
    """Images of each class, in the order of classes.txt; one of several counts for each."""
    unreadable: tuple[Left, ...]

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "ShardRecord":
        """Return what `as_json` has written."""
        left = tuple(Left(**one) for one in stored["unreadable"])
        return cls(**{**stored, "per_class": tuple(stored["per_class"]), "unreadable": left})

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain dictionaries and lists."""
        return asdict(self)

    def damage(self, folder: Path) -> str | None:
        """Return why the shard in `folder` is not the one that was written; None if it is."""
        shard = folder / self.name
        try:
            size = shard.stat().st_size
            if size != self.bytes:
                return f"it has {size:,} bytes in place of {self.bytes:,}"
            with shard.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return "it is missing"
        except OSError as error:
            return f"it cannot be read ({error.strerror or error})"
        return None if found == self.sha256 else "its bytes have changed since it was written"


def write_index(folder: Path, plan: PackPlan, records: Iterable[ShardRecord]) -> None:
    """Write index.json: the settings, the totals, and one line a shard."""
    shards = sorted(records, key=lambda record: record.name)
    head = {
        "form": FORM,
        "settings": plan.settings(),
        "images": sum(record.images for record in shards),
        "bytes": sum(record.bytes for record in shards),
        "unreadable": sum(len(record.unreadable) for record in shards),
    }
    lines = ",\n  ".join(json_text(record.as_json()) for record in shards)
    text = json_text(head, indent=1).removesuffix("\n}")
    write_text(folder / INDEX, f'{text},\n "shards": [\n  {lines}\n ]\n}}\n')


def read_index(folder: Path) -> tuple[dict[str, Any], list[ShardRecord]] | None:
    """Return the settings and the shards in a folder's index; None where it holds no pack.

    Raises MixerError where the index of a pack is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_bytes())
        if not isinstance(stored, dict) or stored.get("form") != FORM:
            return None
        return stored["settings"], [ShardRecord.from_json(one) for one in stored["shards"]]
    except OSError as error:
        raise MixerError(f"cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MixerError(
            f"{path} is damaged ({error}): `mixer data pack` with the same source writes it anew "
            "once it is removed."
        ) from error


def damaged_shards(
    folder: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, str] | None:
    """Return the shards of a pack that are not as they were written, and why.

    None where the folder is no pack. `progress` is called with the shards done and their number.
    """
    index = read_index(folder)
    if index is None:
        return None
    found = {}
    for done, record in enumerate(index[1], 1):
        if (reason := record.damage(folder)) is not None:
            found[record.name] = reason
        if progress is not None:
            progress(done, len(index[1]))
    return found


def shards_of_pack(folder: Path) -> list[Path] | None:
    """Return the shards that the index of a folder names; None where it holds no pack.

    Raises UsageError where one is missing or has another size, or others lie beside them, as where
    a pack of fewer shards was copied over one of more.
    """
    index = read_index(folder)
    if index is None:
        return None
    sizes = {record.name: record.bytes for record in index[1]}
    again = "copy them there, or start the same `mixer data pack` again."
    if missing := [name for name in sizes if not (folder / name).exists()]:
        raise UsageError(
            f"{len(missing)} of the shards that index.json in {folder} names are missing, first "
            f"{missing[0]}: {again}"
        )
    if resized := [name for name in sizes if (folder / name).stat().st_size != sizes[name]]:
        raise UsageError(
            f"{len(resized)} of the shards in {folder} have another size than index.json says, "
            f"first {resized[0]}: {again}"
        )
    if others := sorted({path.name for path in folder.glob("[!.]*.tar")} - set(sizes)):
        raise UsageError(
            f"{len(others)} of the shards in {folder} are none of those that index.json names, "
            f"first {others[0]}: remove what another pack has left, or move your own elsewhere."
        )
    return [folder / name for name in sorted(sizes)]
