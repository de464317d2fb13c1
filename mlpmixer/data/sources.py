"""One vocabulary for all data: from what the user writes after --data to an opened data set."""

import glob
import logging
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from braceexpand import braceexpand

from mlpmixer.data.dataset import Dataset
from mlpmixer.data.digits import open_digits
from mlpmixer.data.folder import open_folder
from mlpmixer.data.shards import open_shards
from mlpmixer.data.torchvision_sets import NAMES, open_torchvision
from mlpmixer.errors import UsageError, unknown_name

logger = logging.getLogger(__name__)

DIGITS = "digits"
KNOWN_NAMES = (DIGITS, *NAMES)


def open_source(spec: str) -> Dataset:
    """Return the data set that `spec` names.

    - ``digits``: scikit-learn's handwritten digits, without download.
    - ``cifar10``, ``pets``, ``imagenet`` and further names of
      `mlpmixer.data.torchvision_sets`: downloaded by torchvision.
    - ``hf:user/name`` or ``hf:user/name:config``: from the Hugging Face hub.
    - a folder: of class folders, of parquet files, or of WebDataset shards (``.tar``).
    - a ``.parquet`` or ``.tar`` file, or a pattern of them: ``shards/{000..127}.tar``.

    A known name means the known data set even where a folder of that name exists; write
    ``./cifar10`` for the folder. See the modules of the kinds for what they expect.

    Raises UsageError where there is no such source or it is not laid out as its kind must be,
    MixerError where it cannot be read or downloaded.
    """
    dataset = _open(spec)
    for split, images in dataset.splits.items():
        if not len(images):
            raise UsageError(f"{spec} has no {split} images.")
    if len(np.unique(np.concatenate([s.labels for s in dataset.splits.values()]))) < 2:
        raise UsageError(f"{spec} has images of one class only: a classifier needs at least two.")
    return dataset


def check_name(spec: str) -> None:
    """Raise UsageError where `spec` is a single word that names no data source.

    Nothing is opened or downloaded: other sources may still turn out to be missing.
    """
    named = spec in KNOWN_NAMES or any(character in spec for character in "/\\.:{*?~")
    if not named and not Path(spec).exists():
        raise _no_such_source(spec, Path(spec))


def _open(spec: str) -> Dataset:
    if spec in KNOWN_NAMES:
        if Path(spec).exists():
            logger.warning(
                "%s means the known data set; write ./%s for what lies here.", spec, spec
            )
        return open_digits() if spec == DIGITS else open_torchvision(spec)
    if spec.startswith("hf:"):
        from mlpmixer.data.hub import open_hub

        return open_hub(spec)
    if not spec:
        raise UsageError("the data source is empty: give a name, a folder or files.")
    path = Path(spec).expanduser()
    if path.is_dir():
        return _open_directory(path, spec)
    if path.is_file():
        return _opener_of_files([path], spec)([path], spec)
    if any(character in spec for character in "{*?"):
        files = _expand(path, spec)
        return _opener_of_files(files, spec)(files, spec)
    raise _no_such_source(spec, path)


def _open_directory(folder: Path, spec: str) -> Dataset:
    from mlpmixer.data.parquet import open_parquet, parquet_files

    if parquet := parquet_files(folder):
        return open_parquet(parquet, spec)
    if shards := sorted(folder.glob("[!.]*.tar")):
        return open_shards(shards, spec)
    return open_folder(folder, spec)


def _opener_of_files(files: list[Path], spec: str) -> Callable[[list[Path], str], Dataset]:
    suffixes = {path.suffix.lower() for path in files}
    if suffixes == {".parquet"}:
        from mlpmixer.data.parquet import open_parquet

        return open_parquet
    if suffixes == {".tar"}:
        return open_shards
    raise UsageError(
        f"{spec} is no data source: give a folder of class folders, .parquet files, or "
        "uncompressed .tar shards."
    )


def _expand(pattern: Path, spec: str) -> list[Path]:
    """Return the files that a pattern with {000..127}, {a,b}, * or ? stands for.

    Every file that braces count up must exist, so that a shard that failed to arrive is noticed.
    """
    try:
        names = list(braceexpand(str(pattern)))
    except ValueError as error:
        raise UsageError(f"{spec} has a brace without its partner: {error}.") from error
    files: list[Path] = []
    for name in names:
        matches = sorted(glob.glob(name)) if any(c in name for c in "*?") else [name]
        files += (Path(match) for match in matches)
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(files)} files of {spec} are missing, first {missing[0]}. "
            "Check the numbers between the braces."
        )
    if not files:
        raise UsageError(f"no file matches {spec}.")
    return files


def _no_such_source(spec: str, path: Path) -> UsageError:
    folder = path.parent
    names = [p.name for p in folder.iterdir() if p.name[0] != "."] if folder.is_dir() else []
    near = get_close_matches(path.name, names, n=2)
    if "/" not in spec and not path.suffix:
        remedy = "Otherwise give a folder, .parquet files, shards/{000..127}.tar or hf:user/name."
        return unknown_name("data source", spec, [*KNOWN_NAMES, *near], remedy)
    hint = f" Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""
    if not near and spec.count("/") == 1 and not spec.startswith((".", "~", "/")):
        hint = f" For a data set of the Hugging Face hub write hf:{spec}."
    return UsageError(f"there is no file or folder {spec}.{hint}")
