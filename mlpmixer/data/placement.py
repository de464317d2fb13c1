"""Where the images of a run lie: on the device while they fit, else in the machine's memory."""

from collections.abc import Mapping

import torch

from mlpmixer.data.batches import Images
from mlpmixer.runtime import Runtime

DEVICE_SHARE = 0.25
"""Share of a GPU's free memory that images may take; weights and activations need the rest."""


def place_images(images: Mapping[str, Images], runtime: Runtime) -> None:
    """Move the splits that fit onto a GPU; let the others deliver their batches in pinned memory.

    From pinned memory `Runtime.place` copies in the background, while the GPU computes.
    """
    if runtime.device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(runtime.device)
    sizes = {name: part.bytes_for_device for name, part in images.items()}
    chosen = fitting(sizes, free)
    for name, part in images.items():
        if name in chosen:
            part.to(runtime.device)
        else:
            part.pin()


def fitting(sizes: Mapping[str, int], free: int) -> set[str]:
    """Return which of the splits fit together, the first ones first.

    Args:
        sizes: what each takes on the device in bytes; 0 where it cannot be kept there.
        free: bytes that are free on the device.
    """
    left = DEVICE_SHARE * free
    chosen = set()
    for name, size in sizes.items():
        if 0 < size <= left:
            chosen.add(name)
            left -= size
    return chosen
