"""OpenVINO as an engine: any model as its graph, compiled for the processor."""

import threading
from typing import Any

from torch import Tensor

from mlpmixer.errors import MixerError, UsageError
from mlpmixer.kernels.native import Precision
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import InputType, traced
from mlpmixer.weights.exported.extra import library
from mlpmixer.weights.exported.openvino_graph import OpenVinoGraph


def converted(
    model: ImageModel, input_type: InputType = "float32", *, features: bool = False
) -> Any:
    """Return a model as an `openvino.Model` from "images" to "logits", for batches of any size.

    `input_type` and `features` are as in `traced`.

    Raises:
        UsageError: OpenVINO is not installed.
    """
    openvino = library("openvino", "OpenVINO's graph")
    graph = openvino.convert_model(traced(model, input_type, features=features))
    graph.reshape([-1, model.in_channels, *model.image_size])
    graph.inputs[0].tensor.set_names({"images"})
    graph.outputs[0].tensor.set_names({"features" if features else "logits"})
    return graph


class OpenVinoEngine:
    """A model computed by OpenVINO on the CPU; converting it takes seconds.

    Features have a graph of their own, made when they are first asked for.

    Raises:
        MixerError: OpenVINO is not installed, the model lies on a GPU, or int8 is asked for.
    """

    def __init__(self, model: ImageModel, precision: Precision) -> None:
        if precision == "int8":
            raise MixerError(
                "OpenVINO needs images to find its 8-bit ranges: "
                "`mixer export --format openvino --precision int8 --data SOURCE`."
            )
        if model.device.type != "cpu":
            raise MixerError(f"OpenVINO runs on CPUs here, the model is on {model.device}.")
        self._model, self._precision = model, precision
        self._lock = threading.Lock()
        self._features: OpenVinoGraph | None = None
        try:
            self._logits = OpenVinoGraph(converted(model), precision)
        except UsageError as error:
            raise MixerError(str(error)) from error
        self.description = f"OpenVINO, {precision}"

    def features(self, images: Tensor) -> Tensor:
        with self._lock:
            if self._features is None:
                graph = converted(self._model, features=True)
                self._features = OpenVinoGraph(graph, self._precision)
        return self._features(images.detach().float().contiguous())

    def logits(self, images: Tensor) -> Tensor:
        return self._logits(images.detach().float().contiguous())
