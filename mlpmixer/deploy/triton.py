"""A model repository as Triton Inference Server reads it."""

import os
from pathlib import Path

from mlpmixer.deploy.export import Exported, ExportOptions, export_model
from mlpmixer.deploy.exports import find_format
from mlpmixer.errors import MixerError, UsageError
from mlpmixer.files import folder_beside, write_text
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.exported.description import Description

LARGEST_BATCH = 64
DELAY = 2000
"""Microseconds that a request waits for others."""
LABELS = "labels.txt"
VERSION = "1"
_TYPES = {"float32": "TYPE_FP32", "uint8": "TYPE_UINT8"}
_FILES = {"onnxruntime_onnx": "model.onnx", "openvino": "model.xml"}


def write_repository(
    model: ImageModel, repository: Path, name: str, options: ExportOptions
) -> Exported:
    """Put a model into a model repository: REPOSITORY/NAME/config.pbtxt, labels.txt, 1/MODEL.

    The folder of the model appears whole or not at all. `options` are those of `export_model`.

    Raises:
        UsageError: Triton does not run the format, or the repository has such a model.
        MixerError: as `export_model`.
    """
    runs = find_format(options.format).triton
    if runs is None:
        raise UsageError(f"Triton is given ONNX or OpenVINO here, not {options.format}.")
    target = repository / name
    if target.exists():
        raise UsageError(f"{target} exists already: choose another --name or remove it.")
    with folder_beside(target) as aside:
        whole = aside / name  # with the permissions of a new folder, unlike a temporary one
        exported = export_model(model, whole / VERSION / _FILES[runs], options)
        write_text(whole / LABELS, "".join(f"{label}\n" for label in _labels(model)))
        write_text(whole / "config.pbtxt", configuration(name, exported.description, runs))
        try:
            os.replace(whole, target)
        except OSError as error:
            raise MixerError(f"cannot write {target}: {error.strerror or error}.") from error
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
