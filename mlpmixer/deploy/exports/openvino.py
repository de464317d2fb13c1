"""OpenVINO's form: a graph as XML and its weights in a file beside it."""

from pathlib import Path

from torch import Tensor

from mlpmixer.deploy.exports import Format
from mlpmixer.deploy.quantized import quantized
from mlpmixer.engines.openvino import converted
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.exported.description import KEY, Description
from mlpmixer.weights.exported.extra import library


def _write(model: ImageModel, description: Description, path: Path, pixels: Tensor) -> None:
    openvino = library("openvino", "--format openvino")
    graph = converted(model, description.input)
    if description.precision == "int8":
        graph = quantized(graph, model, description, pixels)
    graph.set_rt_info(description.to_json(), [KEY])
    openvino.save_model(graph, path, compress_to_fp16=description.precision == "float16")


FORMAT = Format(".xml", _write, ("float32", "float16", "int8"), triton="openvino", beside=(".bin",))
