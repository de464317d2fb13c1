"""Graphs with 8-bit weights and activations, calibrated on images by NNCF."""

import contextlib
import io
import logging
from typing import Any

from torch import Tensor

from mlpmixer.data.augment import normalize
from mlpmixer.models.interface import ImageModel
from mlpmixer.weights.exported.description import Description
from mlpmixer.weights.exported.extra import library

_CUDA = logging.getLogger("torch.utils.cpp_extension")


def quantized(graph: Any, model: ImageModel, description: Description, pixels: Tensor) -> Any:
    """Return a graph of OpenVINO or ONNX in 8 bits.

    Args:
        graph: with one input, as the description says.
        model: what it computes.
        description: says the type of the input.
        pixels: what to calibrate on, uint8 (N, 3, H, W); what they cover decides on the ranges.

    Raises:
        UsageError: NNCF is not installed.
    """
    _CUDA.setLevel(logging.ERROR)  # it warns where there is no GPU, when NNCF imports it
    nncf = library("nncf", "--precision int8")
    nncf.set_log_level(logging.ERROR)
    values = pixels if description.input == "uint8" else normalize(pixels)
    batches = [{"images": one.numpy()} for one in values.split(1)]
    # Its scheme for transformers keeps LayerNorm and GELU exact; Mixers have the same parts.
    kind = nncf.ModelType.TRANSFORMER if model.patch_grid is not None else None
    # It also moves ranges from activations to weights, which changes a Mixer's logits far more.
    unmoved = nncf.AdvancedSmoothQuantParameters(matmul=-1)
    with contextlib.redirect_stdout(io.StringIO()):  # progress bars of its own
        return nncf.quantize(
            graph,
            nncf.Dataset(batches),
            subset_size=len(batches),
            model_type=kind,
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=nncf.AdvancedQuantizationParameters(smooth_quant_alphas=unmoved),
        )
