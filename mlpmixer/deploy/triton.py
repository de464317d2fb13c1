"""A model repository as Triton Inference Server reads it."""

import os
import shutil
import tempfile
from pathlib import Path

from torch import Tensor

from mlpmixer.deploy.export import Exported, export_model
from mlpmixer.deploy.exports import find_format
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import write_text
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import InputType
from mlpmixer.weights.exported.description import Description

LARGEST_BATCH = 64
DELAY = 2000
"""Microseconds that a request waits for others."""
LABELS = "labels.txt"
VERSION = "1"
_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_FILES = {"onnxruntime_onnx": "model.onnx", "openvino": "model.xml"}


def write_repository(
    model: ImageModel,
    repository: Path,
    name: str,
    *,
    format: str,
    check: Tensor,
    precision: str = "float32",
    input_type: InputType = "float32",
    calibration: Tensor | None = None,
    source: str = "",
) -> Exported:
    """Put a model into a model repository: REPOSITORY/NAME/config.pbtxt, labels.txt, 1/MODEL.

    The folder of the model appears whole or not at all. The arguments are those of `export_model`.

    Raises:
        UsageError: Triton does not run the format, or the repository has such a model.
        MixerError: as `export_model`.
    """
    runs = find_format(format).triton
    if runs is None:
        raise UsageError(f"Triton is given ONNX or OpenVINO here, not {format}.")
    target = repository / name
    if target.exists():
        raise UsageError(f"{target} exists already: choose another --name or remove it.")
    try:
        repository.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=repository))
    except OSError as error:
        raise MixerError(f"cannot write {repository}: {error.strerror or error}.") from error
    try:
        exported = export_model(
            model,
            aside / VERSION / _FILES[runs],
            format=format,
            check=check,
            precision=precision,
            input_type=input_type,
            calibration=calibration,
            source=source,
        )
        write_text(aside / LABELS, "".join(f"{label}\n" for label in _labels(model)))
        write_text(aside / "config.pbtxt", configuration(name, exported.description, runs))
        aside.chmod(0o777 & ~_umask())
        os.replace(aside, target)
    except OSError as error:
        raise MixerError(f"cannot write {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    files = tuple(target / VERSION / file.name for file in exported.files)
    return Exported(files, exported.description, exported.comparison)


def configuration(name: str, description: Description, runs: str) -> str:
    """Return config.pbtxt: one input, one output, batches gathered by the server."""
    height, width = description.image_size
    shape = f"{description.in_channels}, {height}, {width}"
    runner = f'backend: "{runs}"' if runs == "openvino" else f'platform: "{runs}"'
    return f"""\
name: "{name}"
{runner}
max_batch_size: {LARGEST_BATCH}
input [ {{ name: "images" data_type: {_TYPES[description.input]} dims: [ {shape} ] }} ]
output [
  {{
    name: "logits"
    data_type: TYPE_FP32
    dims: [ {description.num_classes} ]
    label_filename: "{LABELS}"
  }}
]
dynamic_batching {{ max_queue_delay_microseconds: {DELAY} }}
"""


def _labels(model: ImageModel) -> tuple[str, ...]:
    return model.class_names or tuple(map(str, range(model.num_classes)))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
