"""OpenVINO's files: a graph as XML, its weights beside it in a file that ends in .bin."""

from pathlib import Path

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.runtime import leave_busy_cores
from mlpmixer.weights.exported import Reader
from mlpmixer.weights.exported.description import KEY, Description
from mlpmixer.weights.exported.extra import library
from mlpmixer.weights.exported.model import ExportedModel
from mlpmixer.weights.exported.openvino_graph import OpenVinoGraph


def _matches(path: Path, start: bytes) -> bool:
    return start.startswith(b"<?xml") and b"<net " in start


def _read(path: Path, trusted: bool) -> ExportedModel:
    """Open a file and the one with its weights.

    Raises:
        UsageError: it was not written by `mixer export`, its weights are not beside it, or OpenVINO
            is missing.
        MixerError: it is damaged.
    """
    weights = path.with_suffix(".bin")
    if not weights.exists():
        raise UsageError(f"{path} has its weights in {weights.name}, which is not beside it.")
    core = library("openvino", "an OpenVINO file").Core()
    leave_busy_cores()
    try:
        graph = core.read_model(path, weights)
        said = graph.get_rt_info([KEY]).astype(str) if graph.has_rt_info([KEY]) else None
        compute = OpenVinoGraph(graph, "float32")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise MixerError(f"{path} is damaged: OpenVINO says {reason!r}.") from error
    if said is None:
        raise UsageError(
            f"{path} was not written by `mixer export`: it does not say its classes and "
            "preprocessing."
        )
    return ExportedModel(path, Description.from_json(said, str(path)), "OpenVINO", compute)


READER = Reader(_matches, _read)
