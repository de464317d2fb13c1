"""A package of machine code that PyTorch's compiler makes, for processors like this one."""

import logging
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from mlpmixer.deploy.exports import Format
from mlpmixer.errors import MixerError
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.traced import traced
from mlpmixer.weights.exported.description import Description
from mlpmixer.weights.exported.program_check import EXTRA
from mlpmixer.weights.exported.torch import DESCRIPTION


def _write(model: ImageModel, description: Description, path: Path, pixels: Tensor) -> None:
    """Compile a model.

    Raises:
        MixerError: there is no working C++ compiler, or it fails.
    """
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.exc import InductorError, InvalidCxxCompiler

    # It warns where there is no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    program = traced(model, description.input)
    try:
        with torch.no_grad():
            aoti_compile_and_package(program, package_path=str(path))
    except (InductorError, InvalidCxxCompiler, RuntimeError, OSError) as error:
        reason = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
        raise MixerError(
            f"no code could be compiled here ({reason[:120]}). Install a C++ compiler, or use "
            "--format torch, which needs none."
        ) from error
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/{EXTRA}{DESCRIPTION}", description.to_json())


FORMAT = Format(".pt2", _write, native=True)
