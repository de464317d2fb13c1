"""ONNX files, run by ONNX Runtime."""

from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.runtime import leave_busy_cores
from mlpmixer.weights.exported import Reader
from mlpmixer.weights.exported.description import KEY, Description
from mlpmixer.weights.exported.extra import library
from mlpmixer.weights.exported.model import ExportedModel

_ERRORS_ALONE = 3
"""ONNX Runtime's level of messages."""


def _matches(path: Path, start: bytes) -> bool:
    # The first field of the protobuf is the version; the format has no other mark of its own.
    return path.suffix == ".onnx" and start[:1] == b"\x08"


def _read(path: Path, trusted: bool) -> ExportedModel:
    """Open a file.

    Raises:
        UsageError: it was not written by `mixer export`, or ONNX Runtime is missing.
        MixerError: it is damaged.
    """
    runtime = library("onnxruntime", "an ONNX file")
    leave_busy_cores()
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ALONE
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # its classes have no base of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = str(error).splitlines()[0]
        raise MixerError(f"{path} is damaged: ONNX Runtime says {reason!r}.") from error
    said = session.get_modelmeta().custom_metadata_map.get(KEY)
    if said is None:
        raise UsageError(
            f"{path} was not written by `mixer export`: it does not say its classes and "
            "preprocessing."
        )
    (wanted,) = (one.name for one in session.get_inputs())

    def compute(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {wanted: images.numpy()})[0])

    return ExportedModel(path, Description.from_json(said, str(path)), "ONNX Runtime", compute)


READER = Reader(_matches, _read)
