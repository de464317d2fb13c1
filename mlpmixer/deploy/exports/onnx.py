"""ONNX, the graph that most runtimes read."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlpmixer.deploy.exports import Format
from mlpmixer.deploy.quantized import quantized
from mlpmixer.errors import MixerError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import traced
from mlpmixer.weights.exported.description import KEY, Description
from mlpmixer.weights.exported.extra import library

OPERATIONS = 20
"""Version of ONNX's operations: the first with GELU."""
LARGEST_FILE = 2_000_000_000
"""Bytes of tensors above which they go into a file of their own: a protobuf holds 2 GB."""


def _write(model: ImageModel, description: Description, path: Path, pixels: Tensor) -> None:
    """Write the graph and let ONNX's checker go over it.

    Raises:
        UsageError: a library is missing.
        MixerError: the checker refuses the graph.
    """
    onnx = library("onnx", "--format onnx")
    library("onnxscript", "--format onnx")
    program = torch.onnx.export(
        traced(model, description.input),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        opset_version=OPERATIONS,
        verbose=False,
    )
    assert program is not None  # only with dynamo=False
    large = sum(tensor.nbytes for tensor in model.state_dict().values()) > LARGEST_FILE
    if description.precision == "int8":
        graph: Any = quantized(program.model_proto, model, description, pixels)
    else:
        graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # names of files and functions of this machine
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del value.metadata_props[:]
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {KEY: description.to_json()})
    graph.producer_name, graph.producer_version = "mlpmixer", description.mlpmixer
    onnx.save_model(
        graph,
        str(path),
        save_as_external_data=large,
        all_tensors_to_one_file=True,
        location=f"{path.name}.data",
    )
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MixerError(f"ONNX's checker refuses the graph of {model.name}: {error}") from error


FORMAT = Format(".onnx", _write, ("float32", "int8"), triton="onnxruntime_onnx")
