"""Ours and its peers behind one call: a Mixer's or ViT's weights, images in, logits out.

All compute the same network with the same weights, made once as timm's; each is set up as its own
documentation advises for a CPU, with a given number of threads.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import mlpmixer
from mlpmixer.kernels.native import Precision

Compute = Callable[[Tensor], Tensor]
TIMM_NAMES = {
    "mixer_s16": "mixer_s16_224",
    "mixer_b16": "mixer_b16_224",
    "mixer_l16": "mixer_l16_224",
    "vit_b16": "vit_base_patch16_224",
}
IMAGE = (3, 224, 224)
CALIBRATION_IMAGES = 8
ENGINES: dict[str, tuple[Precision, ...]] = {
    "ours": ("float32", "bfloat16", "int8"),
    "timm": ("float32", "bfloat16"),
    "timm compiled": ("float32", "bfloat16"),
    "ONNX Runtime": ("float32", "int8"),
    "OpenVINO": ("float32", "bfloat16", "int8"),
}


def timm_network(name: str) -> nn.Module:
    """Return the network with random weights, always the same."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(TIMM_NAMES[name]).eval()
    for parameter in network.parameters():
        # Biases and a head of 0, gains of 1 would hide what an engine leaves out.
        if parameter.ndim == 1 or not parameter.any():
            nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.1)
    return network


def inputs(batch: int) -> Tensor:
    """Return random images (B, 3, 224, 224) in [-1, 1], always the same."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, *IMAGE, generator=generator) * 2 - 1


def build(engine: str, name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    """Return what computes the logits of a network; `folder` takes files between two formats."""
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    builders = {
        "ours": _ours,
        "timm": _eager,
        "timm compiled": _compiled,
        "ONNX Runtime": _onnx_runtime,
        "OpenVINO": _openvino,
    }
    return builders[engine](name, precision, threads, folder)


def _ours(name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    if name.startswith("vit"):
        raise ValueError("our kernels compute Mixers")
    file = folder / f"{name}.{os.getpid()}.pth"
    torch.save(timm_network(name).state_dict(), file)
    model = mlpmixer.load(file)
    file.unlink()
    return mlpmixer.optimize(model, precision, engine="native")


def _type(precision: Precision) -> torch.dtype:
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]


def _eager(name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    network = timm_network(name).to(_type(precision))
    return lambda images: network(images.to(_type(precision))).float()


def _compiled(name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    network = timm_network(name).to(_type(precision))
    compiled = torch.compile(network, options={"freezing": True}, dynamic=False)
    return lambda images: compiled(images.to(_type(precision))).float()


def _onnx_file(name: str, folder: Path) -> Path:
    """Return the network as ONNX with a free batch size, written once."""
    file = folder / f"{name}.onnx"
    if not file.exists():
        batch = torch.export.Dim("batch", min=1, max=1024)
        torch.onnx.export(
            timm_network(name),
            (inputs(2),),
            str(file),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    return file


def _onnx_runtime(name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = _onnx_file(name, folder)
    if precision == "int8":
        quantized = folder / f"{name}.int8.onnx"
        if not quantized.exists():
            quantize_dynamic(file, quantized, weight_type=QuantType.QInt8, per_channel=True)
        file = quantized
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])
    argument = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {argument: images.numpy()})[0])


def _openvino(name: str, precision: Precision, threads: int, folder: Path) -> Compute:
    import openvino

    core = openvino.Core()
    model = core.read_model(_onnx_file(name, folder))
    if precision == "int8":
        model = _quantized(model)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = compiled.create_infer_request()

    def compute(images: Tensor) -> Tensor:
        result: Any = request.infer({0: images.numpy()}, share_inputs=True)[0]
        return torch.from_numpy(np.array(result))

    return compute


def _quantized(model: Any) -> Any:
    """Return the model with weights and activations of 8 bits, calibrated on random images."""
    import nncf

    samples = nncf.Dataset([one.numpy() for one in inputs(CALIBRATION_IMAGES).split(1)])
    return nncf.quantize(
        model,
        samples,
        subset_size=CALIBRATION_IMAGES,
        model_type=nncf.ModelType.TRANSFORMER,
    )
