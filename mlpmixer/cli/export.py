"""`mixer export`: write a model for another runtime: ONNX, OpenVINO, torch.export."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from mlpmixer.cli.options import given, parse
from mlpmixer.deploy.exports import find_format, format_names
from mlpmixer.errors import UsageError, unknown_name
from mlpmixer.files import check_writable
from mlpmixer.values import Count

if TYPE_CHECKING:
    from mlpmixer.run.console import Console

SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}
"""The format that is meant where --format is not given."""
CHECKED = 32
"""Images of --data that the export is compared on."""


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write a model for another runtime, and check there that it answers as before.

    The export is loaded in its own runtime and compared with the model on real images: those of
    --data, else parts of two photographs. One that differs is not written. The file holds class
    names and preprocessing, and `mixer predict` and `mixer eval` take it like any model.

    Examples:
      mixer export runs/digits --out digits.onnx
      mixer export runs/digits --out digits.xml --precision int8 --data digits
      mixer export runs/photos --out photos.pt2 --input uint8
      mixer export runs/photos --format aotinductor --out photos.pt2
      mixer export runs/photos --format onnx --triton model-repository/
    """

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """A run directory, a model file, or hf-hub:user/name."""
    out: Path | None = None
    """The file to write: .onnx, .xml (its weights come beside it as .bin) or .pt2."""
    format: Annotated[str | None, arg(metavar="|".join(format_names()))] = None
    """By default what the name of --out ends in; torch for .pt2. aotinductor: machine code for
    processors like this one, made by a C++ compiler."""
    precision: Literal["float32", "float16", "int8"] = "float32"
    """Of the weights. float16: openvino; int8: openvino and onnx, with --data for its ranges."""
    input: Literal["float32", "uint8"] = "float32"
    """float32: images (B, 3, H, W) in [-1, 1]; uint8: (B, 3, H, W) from 0 to 255, normalised
    inside."""
    data: str | None = None
    """Images to calibrate int8 on and to compare with the model; sources as for training."""
    calibration_images: Count = 300
    """How many images int8 is calibrated on, at most."""
    class_names: Path | None = None
    """A file with the names of the classes, a name a line or a JSON list."""
    triton: Path | None = None
    """In place of --out: a model repository of Triton Inference Server, to which the model is
    added."""
    name: str | None = None
    """What the model is called in that repository; by default as MODEL."""
    json: bool = False
    """Print the outcome as JSON."""


def run(arguments: Sequence[str]) -> int:
    """Run the verb; returns the exit status."""
    command = parse(ExportCommand, "export", arguments)
    name = _format(command, given(arguments))
    from mlpmixer.data.sources import check_name
    from mlpmixer.deploy.export import ExportOptions, check_target, export_model
    from mlpmixer.deploy.export_images import images_of, photographs
    from mlpmixer.deploy.triton import write_repository
    from mlpmixer.run.console import Console
    from mlpmixer.runtime import leave_busy_cores
    from mlpmixer.weights.checkpoint import load

    console = Console.choose(command.json)
    if command.data is not None:
        check_name(command.data)
    leave_busy_cores()
    model = load(command.model, class_names=command.class_names)
    chosen = find_format(name)
    check_target(model, command.out, chosen, name, command.precision)
    calibration = None
    if command.data is None:
        check = photographs(model.preprocessing)
    else:
        wanted = command.calibration_images if command.precision == "int8" else 0
        with console.progress("reading images") as progress:
            found, check, unreadable = images_of(command.data, model.preprocessing, wanted, CHECKED)
            progress.update(1.0)
        calibration = found if wanted else None
        for one in unreadable:
            console.warning(f"skipped {one.name}: {one.reason}")
    options = ExportOptions(
        format=name,
        check=check,
        precision=command.precision,
        input_type=command.input,
        calibration=calibration,
        source=command.model,
    )
    with console.progress(f"writing and checking {name}") as progress:
        if command.triton is not None:
            exported = write_repository(model, command.triton, _name_in_triton(command), options)
        else:
            assert command.out is not None  # `_format` says so
            exported = export_model(model, command.out, options)
        progress.update(1.0)
    comparison = exported.comparison
    record = {
        "files": [str(file) for file in exported.files],
        "format": name,
        "precision": command.precision,
        "input": command.input,
        "bytes": exported.size,
        "images": comparison.images,
        "largest_difference": comparison.difference,
        "largest_logit": comparison.largest,
        "top1_agreement": comparison.agreement,
        "allowed": comparison.bound._asdict(),
    }
    _tell(console, record, f"compared with {command.model} on {comparison}")
    return 0


def _tell(console: "Console", record: dict[str, Any], compared: str) -> None:
    from mlpmixer.formatting import memory

    size = memory(record["bytes"])
    console.result(
        record,
        f"{' and '.join(record['files'])}: {record['format']}, "
        f"{record['precision']}, {size}\n{compared}",
    )


def _format(command: ExportCommand, named: Collection[str]) -> str:
    """Return the format that is meant, after all that can be checked without the model."""
    name = command.format
    if name is not None and name not in format_names():
        raise unknown_name("format", name, format_names())
    if (command.out is None) == (command.triton is None):
        raise UsageError("say where to: --out FILE, or --triton DIR for a model repository.")
    if command.name is not None and command.triton is None:
        raise UsageError("--name is for --triton DIR: leave it out.")
    if name is None:
        if command.out is None:
            raise UsageError("--triton needs --format onnx or openvino.")
        name = SUFFIXES.get(command.out.suffix)
        if name is None:
            known = ", ".join(SUFFIXES)
            raise UsageError(
                f"{command.out} is of an unknown kind: write {known}, or give --format."
            )
    if command.precision != "int8" and "calibration_images" in named:
        raise UsageError("--calibration-images is for --precision int8: leave it out.")
    if command.out is not None:
        check_writable(command.out)
    if command.precision == "int8" and command.data is None:
        raise UsageError("int8 finds its ranges on your images: give --data SOURCE.")
    return name


def _name_in_triton(command: ExportCommand) -> str:
    """Return what a model is called in a repository: letters, digits, _ and -."""
    name = command.name or Path(command.model.rpartition(":")[2]).stem
    if not re.fullmatch(r"\w[\w-]*", name, flags=re.ASCII):
        raise UsageError(
            f"{name!r} is no name for Triton: give --name of letters, digits, _ and -."
        )
    return name
