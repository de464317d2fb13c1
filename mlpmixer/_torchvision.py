"""Make ``import torchvision`` work beside a CPU-only PyTorch.

The package index carries torchvision's CUDA build alone. Beside a CPU build of PyTorch its
compiled operators cannot be loaded, and torchvision then stops at import because it describes
two of them (``nms`` and ``qnms``) whether they are there or not. Only its Python parts are used
here, so declaring the two missing signatures is enough. Where the operators load, nothing is
changed. Import this module before torchvision, or before timm, which imports it.
"""

import importlib.util
from pathlib import Path

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # the declarations live as long as this reference


def _declare_missing_operators() -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return  # without torchvision its own import error says what to install
    for compiled in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:  # the shared libraries of CUDA are not on this machine
            library = torch.library.Library("torchvision", "DEF")
            library.define("nms" + _SIGNATURE)
            library.define("qnms" + _SIGNATURE)
            _declared.append(library)


_declare_missing_operators()
