"""PyTorch's .pt2 files: programs of torch.export, and packages of compiled code."""

import zipfile
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.weights.exported import Reader
from mlpmixer.weights.exported.description import KEY, Description
from mlpmixer.weights.exported.model import ExportedModel
from mlpmixer.weights.exported.program_check import (
    EXTRA,
    FORMAT,
    NATIVE,
    checked_archive,
    entries_of,
)

DESCRIPTION = f"{KEY}.json"


def _matches(path: Path, start: bytes) -> bool:
    if not start.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/{FORMAT}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # damaged: said by whoever reads archives of weights


def _read(path: Path, trusted: bool) -> ExportedModel:
    """Open a file.

    Raises:
        UsageError: it was not written by `mixer export`, or holds more than a plain graph; native
            code without `trusted`.
        MixerError: it is damaged.
    """
    entries = entries_of(path)
    said = entries.get(f"{EXTRA}{DESCRIPTION}")
    native = any(name.startswith(NATIVE) for name in entries)
    if native and not trusted:
        raise UsageError(
            f"{path} holds compiled code, which reading it would run. If you built it or trust who "
            f"did, say {path}#trusted."
        )
    if said is None:
        raise UsageError(
            f"{path} was not written by `mixer export`: it does not say its classes and "
            "preprocessing."
        )
    description = Description.from_json(said.decode(errors="replace"), str(path))
    if native:
        from torch._inductor import aoti_load_package

        compiled = aoti_load_package(str(path))

        def run(images: Tensor) -> Tensor:
            return cast(Tensor, compiled(images))

        return ExportedModel(path, description, "AOTInductor", run)
    archive = checked_archive(entries, path)
    try:
        program = torch.export.load(archive)
    except Exception as error:  # whatever a spoilt graph leads to
        raise MixerError(f"{path} is damaged, or of another version of PyTorch: {error}") from error
    module = cast(nn.Module, program.module())

    @torch.no_grad()
    def compute(images: Tensor) -> Tensor:
        return cast(Tensor, module(images)).float()

    return ExportedModel(path, description, "torch.export", compute)


READER = Reader(_matches, _read)
