"""A graph of OpenVINO, compiled for this processor."""

import threading
from typing import Any

import torch
from torch import Tensor

from mlpmixer.weights.exported.extra import library


class OpenVinoGraph:
    """Runs a graph on the CPU, with PyTorch's number of threads, from any number of threads.

    Args:
        graph: an `openvino.Model` with one input and one output.
        precision: float32 or bfloat16, of whatever is not quantised.
    """

    def __init__(self, graph: Any, precision: str) -> None:
        openvino = library("openvino", "OpenVINO's graph")
        # Without the hint OpenVINO takes bfloat16 wherever the processor has it.
        hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
        self._compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._requests = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        """Map images, contiguous and on the CPU, to the output in float32."""
        request = getattr(self._requests, "mine", None)
        if request is None:
            request = self._requests.mine = self._compiled.create_infer_request()
        # The output's memory belongs to the request, which the next call writes to.
        return torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0].copy())
