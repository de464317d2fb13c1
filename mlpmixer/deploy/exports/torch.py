"""A program of torch.export: a graph of PyTorch's operations that needs none of this package."""

from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.deploy.exports import Format
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import traced
from mlpmixer.weights.exported.description import Description
from mlpmixer.weights.exported.torch import DESCRIPTION


def _write(model: ImageModel, description: Description, path: Path, pixels: Tensor) -> None:
    program = traced(model, description.input)
    for node in program.graph.nodes:
        for remark in (
            "stack_trace",
            "nn_module_stack",
            "source_fn_stack",
            "torch_fn",
            "from_node",
        ):
            node.meta.pop(remark, None)  # names of files and functions of this machine
    program.example_inputs = None  # would be a pickle in the file
    torch.export.save(program, path, extra_files={DESCRIPTION: description.to_json()})


FORMAT = Format(".pt2", _write)
