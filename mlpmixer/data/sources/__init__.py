"""One vocabulary for all data: from what the user writes after --data to an opened data set.

A source is added by one module in this package, which declares a `SOURCE`. Light to import, as
each of these modules has to be: the command line reads its help from the declarations.
"""

from __future__ import annotations

import glob
import importlib
import logging
import os
import pkgutil
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlpmixer.data.remote import is_remote
from mlpmixer.data.sources.declaration import Source
from mlpmixer.errors import MixerError, UsageError, unknown_name
from mlpmixer.files import located
from mlpmixer.formatting import printable

if TYPE_CHECKING:
    from mlpmixer.data.dataset import Dataset

logger = logging.getLogger(__name__)

_EMPTY_CLASSES = 5  # that a note names


def sources() -> list[Source]:
    """Return what the modules of this package declare, in the order of their names."""
    found = []
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        source = getattr(importlib.import_module(module.name), "SOURCE", None)
        if source is not None:
            found.append(source)
    return found


def forms() -> str:
    """Return all that may stand after --data, in one line of a help text."""
    return ", ".join(form for source in sources() for form in source.forms)


def open_source(spec: str) -> Dataset:
    """Return the data set that `spec` names.

    The data set calls itself `spec` in the form of `mlpmixer.formatting.printable`, which opens it
    too: a path is also found by the printable form of its parts.

    Args:
        spec: one of the names that the sources declare (`digits`, `cifar10`), what begins with
            one of their prefixes (`hf:user/name`), a folder, a file, or a pattern of files
            (`shards/{000..127}.tar`), also on a server or in a bucket, by a URL. A known name
            means the known data set even where a folder of that name exists; write `./cifar10`
            for the folder.

    Raises:
        UsageError: there is no such source, or it is not laid out as its kind must be.
        MixerError: it cannot be read or downloaded.
    """
    import numpy as np

    from mlpmixer.data.label_sets import class_counts

    shown = printable(spec)
    dataset = replace(_open(spec), spec=shown)
    for split, images in dataset.splits.items():
        if not len(images):
            raise UsageError(f"{shown} has no {split} images.")
    classes = len(dataset.class_names)
    counts_of = {split: class_counts(images, classes) for split, images in dataset.splits.items()}
    if np.count_nonzero(np.sum(list(counts_of.values()), axis=0)) < 2:
        raise UsageError(f"{shown} has images of one class only: a classifier needs at least two.")
    name = "train" if "train" in counts_of else next(iter(counts_of))
    counts = counts_of[name]
    empty = [dataset.class_names[label] for label in np.flatnonzero(counts == 0)]
    if empty:
        listed = ", ".join(empty[:_EMPTY_CLASSES]) + (", …" if len(empty) > _EMPTY_CLASSES else "")
        note = f"{len(empty):,} of {len(counts):,} classes have no {name} images: {listed}"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return dataset


def check_name(spec: str) -> None:
    """Raise UsageError where `spec` is a single word that names no data source.

    Nothing is opened or downloaded: other sources may still turn out to be missing.
    """
    named = spec in _by_name() or any(character in spec for character in "/\\.:{*?~")
    if not named and not os.path.exists(spec):
        raise _no_such_source(spec, Path(spec))


def same_source(one: str, other: str) -> bool:
    """Tell whether two specs mean one source: paths may be spelled differently.

    Either may come from a stranger's file, and be no path at all.
    """
    try:
        return one == other or _unified(one) == _unified(other)
    except (OSError, RuntimeError, ValueError):
        return False


def _unified(spec: str) -> str:
    prefixes = [source.prefix for source in sources() if source.prefix]
    if spec in _by_name() or "://" in spec or spec.startswith(tuple(prefixes)):
        return spec
    return os.path.realpath(located(Path(spec).expanduser()))


def _by_name() -> dict[str, Source]:
    return {name: source for source in sources() for name in source.names}


def _open(spec: str) -> Dataset:
    if not spec:
        raise UsageError("the data source is empty: give a name, a folder or files.")
    known = _by_name().get(spec)
    if known is not None:
        if os.path.exists(spec):
            logger.warning(
                "%s means the known data set; write ./%s for what lies here.", spec, spec
            )
        return known.open(spec, [])
    for source in sources():
        if source.prefix and spec.startswith(source.prefix):
            return source.open(spec, [])
    if is_remote(spec):
        return _open_remote(spec)
    path = located(Path(spec).expanduser())
    if os.path.isdir(path):
        try:
            return _open_folder(path, spec)
        except OSError as error:
            reason = error.strerror or str(error)
            raise MixerError(f"cannot read {printable(spec)}: {reason}.") from error
    if os.path.isfile(path):
        return _open_files([path], spec)
    if any(character in spec for character in "{*?"):
        return _open_files(expand_pattern(path, spec), spec)
    raise _no_such_source(spec, path)


def _open_remote(url: str) -> Dataset:
    suffix = PurePosixPath(url.partition("?")[0]).suffix.lower()
    takers = [(source, source.open_remote) for source in sources() if source.open_remote]
    fitting = [take for source, take in takers if source.suffix == suffix]
    return (fitting or [take for source, take in takers if source.any_url])[0](url)


def _open_folder(folder: Path, spec: str) -> Dataset:
    for source in sorted(sources(), key=lambda source: source.last):
        if source.in_folder is not None and (files := source.in_folder(folder)):
            return source.open(spec, files)
    raise AssertionError("the last source takes every folder")


def _open_files(files: list[Path], spec: str) -> Dataset:
    suffixes = {path.suffix.lower() for path in files}
    for source in sources():
        if source.suffix and suffixes == {source.suffix}:
            return source.open(spec, files)
    read = " or ".join(source.suffix for source in sources() if source.suffix)
    raise UsageError(
        f"{spec} is no data source: give a folder of class folders, or files that all end in "
        f"{read}. `mixer data` lists all kinds."
    )


def expand_pattern(pattern: Path, spec: str) -> list[Path]:
    """Return the files and folders that a pattern with {000..127}, {a,b}, *, ** or ? stands for.

    Every file that braces count up must exist, so that a shard that failed to arrive is noticed.

    Raises:
        UsageError: one is missing, or nothing matches.
    """
    from braceexpand import braceexpand

    try:
        names = [str(located(Path(name))) for name in braceexpand(str(pattern))]
    except ValueError as error:
        raise UsageError(f"{spec} has a brace without its partner: {error}.") from error
    files: list[Path] = []
    for name in names:
        matches = [name]
        if any(c in name for c in "*?"):
            matches = sorted(glob.glob(name, recursive=True))
        files += (Path(match) for match in matches)
    missing = [path for path in files if not os.path.exists(path)]
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
    beside = [p.name for p in folder.iterdir() if p.name[0] != "."] if os.path.isdir(folder) else []
    near = get_close_matches(path.name, beside, n=2)
    if "/" not in spec and not path.suffix:
        others = ", ".join(source.example for source in sources() if not source.names)
        return unknown_name("data source", spec, [*_by_name(), *near], f"Or give such as {others}.")
    hint = f" Did you mean {' or '.join(str(folder / name) for name in near)}?" if near else ""
    if not near and spec.count("/") == 1 and not spec.startswith((".", "~", "/")):
        hint = f" For a data set of the Hugging Face hub write hf:{spec}."
    return UsageError(f"there is no file or folder {spec}.{hint}")
