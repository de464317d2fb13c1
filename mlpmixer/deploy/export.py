"""A model written for another runtime, and checked there before the file appears."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from mlpmixer.deploy.export_check import Comparison, compare
from mlpmixer.deploy.exports import Format, find_format
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import folder_beside, replacing
from mlpmixer.models.digest import model_digest
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import InputType
from mlpmixer.weights.exported.description import Description
from mlpmixer.weights.hub import public_facts, public_name
from mlpmixer.weights.model_files import TRUSTED, load_file


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    """The first is the one to load."""
    description: Description
    comparison: Comparison

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What a model is written as, and what it is checked on."""

    format: str
    """One of `format_names()`."""
    check: Tensor
    """Pixels to compare on, uint8 (N, 3, H, W)."""
    precision: str = "float32"
    """Of the weights; see the format."""
    input_type: InputType = "float32"
    """float32: images in [-1, 1]; uint8: pixels from 0 to 255."""
    calibration: Tensor | None = None
    """Pixels that int8 finds its ranges on, uint8 (N, 3, H, W)."""
    source: str = ""
    """What the model was loaded from; its name is noted in the file, its folders not."""


def export_model(model: ImageModel, out: Path, options: ExportOptions) -> Exported:
    """Write a model for another runtime, whole or not at all, and compare the two.

    Args:
        model: with a head, on the CPU; it is put into evaluation mode. Of an optimized one, what
            it was made from.
        out: the file; weights of more than 2 GB, and those of OpenVINO, come beside it.
        options: as what, and what it is checked on.

    Raises:
        UsageError: the format lacks the precision, a library is missing, the file or one that
            comes beside it exists, or the model cannot be exported.
        MixerError: the export does not answer as the model does, or cannot be written.
    """
    model = model.unoptimized
    chosen, check, calibration = find_format(options.format), options.check, options.calibration
    check_target(model, out, chosen, options.format, options.precision)
    if options.precision == "int8" and calibration is None:
        raise UsageError("int8 finds its ranges on your images: give --data SOURCE.")
    model.eval()
    description = _described(model, options)
    with folder_beside(out) as folder:
        written = folder / out.name
        chosen.write(model, description, written, check if calibration is None else calibration)
        exported = load_file(written, TRUSTED if chosen.native else None)
        comparison = compare(model, exported, check, options.precision)
        if not comparison.passes:
            raise MixerError(
                f"the export does not answer as its source, so {out} was not written. "
                f"On {comparison}."
            )
        del exported  # it may hold its file open
        others = sorted(set(folder.iterdir()) - {written})
        files = [out, *(out.with_name(file.name) for file in others)]
        _check_free(files)  # some names are known only now, and time has passed
        for file in reversed(files):  # the one that refers to the others comes last
            with replacing(file) as temporary:
                os.replace(folder / file.name, temporary)
    return Exported(tuple(files), description, comparison)


def check_target(
    model: ImageModel, out: Path | None, chosen: Format, name: str, precision: str
) -> None:
    """Raise UsageError where this model cannot become that file; None is one in a new folder."""
    if model.own_runtime is not None:
        raise UsageError(
            f"{model.name} is an exported file already: export the model that it was made from."
        )
    if not model.num_classes:
        raise UsageError(f"{model.name} has no head, so there are no logits to export.")
    if precision not in chosen.precisions:
        known = ", ".join(chosen.precisions)
        raise UsageError(f"--format {name} has no precision {precision!r}: use {known}.")
    if out is None:
        return
    if out.suffix != chosen.suffix:
        raise UsageError(f"--format {name} is written as {chosen.suffix}, not {out.name!r}.")
    _check_free([out, *map(out.with_suffix, chosen.beside)])


def _check_free(files: Sequence[Path]) -> None:
    """Raise UsageError where a file exists; the first is the export, the others come with it."""
    out, *others = files
    if out.exists():
        raise UsageError(f"{out} exists already: choose another name or remove it.")
    for file in others:
        if file.exists():
            raise UsageError(
                f"{file} exists already, and a part of the export is called so, too: choose "
                f"another name than {out.name}, or move it away."
            )


def _described(model: ImageModel, options: ExportOptions) -> Description:
    return Description(
        name=model.name,
        options=model.options,
        image_size=model.image_size,
        in_channels=model.in_channels,
        num_classes=model.num_classes,
        num_features=model.num_features,
        patch_grid=model.patch_grid,
        class_names=model.class_names,
        loss=model.loss,
        preprocessing=model.preprocessing.to_json(),
        format=options.format,
        precision=options.precision,
        input=options.input_type,
        source=public_name(options.source),
        weights=model_digest(model),
        mlpmixer=version("mlpmixer"),
        facts=public_facts(model.facts),
    )
