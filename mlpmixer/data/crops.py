"""Crops and flips: where in an image to look, and how to cut that part out.

Boxes are (left, top, right, bottom) as shares of the image's width and height, in [0, 1]; a box
whose left lies beyond its right reads the image mirrored. An image may be stored squashed to a
square, so aspect ratios (width / height) are always those of the original image.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

_EVALUATION_SHARE = 7 / 8  # of the shorter side: 224 cut from 256
_INCEPTION_RATIOS = (3 / 4, 4 / 3)
_ATTEMPTS = 10

PixelBox = tuple[float, float, float, float]


def shift(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Move each image by whole pixels, filling with its mirrored border, then flip some of them.

    `images` (B, C, H, W) of any dtype; `offsets` (B, 2) int64, the first row and column read,
    between 1 - size and size - 1; `flips` (B,) bool. Returns a new tensor like `images`.
    """
    height, width = images.shape[-2:]
    rows = _mirror(torch.arange(height) + offsets[:, :1], height)  # (B, H)
    columns = _mirror(torch.arange(width) + offsets[:, 1:], width)  # (B, W)
    columns = torch.where(flips[:, None], columns.flip(1), columns)
    # A single gather from the flattened image costs a third of one gather a side.
    rows, columns = rows.to(images.device), columns.to(images.device)
    source = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (B, H * W)
    source = source[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, source).view_as(images)


def _mirror(index: Tensor, size: int) -> Tensor:
    """Reflect indices outside 0 … size - 1 at the border pixel, which is not repeated."""
    index = index.abs()
    return torch.where(index < size, index, 2 * (size - 1) - index)


def random_offsets(count: int, pad: int, generator: torch.Generator) -> Tensor:
    """Draw offsets for `shift`, uniform in -pad … pad on each axis. Returns (B, 2) int64."""
    return torch.randint(-pad, pad + 1, (count, 2), generator=generator)


def random_flips(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Draw which of `count` images to flip. Returns (B,) bool."""
    return torch.rand(count, generator=generator) < probability


def random_boxes(
    aspect_ratios: Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Draw a box an image: area share uniform in `scale`, aspect ratio log-uniform in `ratio`.

    Of ten draws the first that fits into the image counts. `aspect_ratios` (B,) are those of the
    images. Returns boxes (B, 4) float64 and (B,) bool: whether any draw did fit; where none did,
    the box means nothing.
    """
    count = len(aspect_ratios)
    draws = torch.rand(count, 2 * _ATTEMPTS + 2, generator=generator, dtype=torch.float64)
    area, log_ratio, corner = draws.split([_ATTEMPTS, _ATTEMPTS, 2], dim=1)
    area = scale[0] + area * (scale[1] - scale[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    # A box of aspect ratio r is, in shares of an image of aspect ratio a, of aspect ratio r / a.
    stretch = (low + log_ratio * (high - low)).exp() / aspect_ratios.double()[:, None]
    sides = torch.stack([(area * stretch).sqrt(), (area / stretch).sqrt()], dim=2)  # (B, 10, 2)
    fits = (sides <= 1).all(dim=2)
    first = fits.byte().argmax(dim=1)
    sides = sides[torch.arange(count), first]  # (B, 2)
    corner = corner * (1 - sides)
    return torch.cat([corner, corner + sides], dim=1).clamp_(0, 1), fits.any(dim=1)


def inception_boxes(
    aspect_ratios: Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    target_ratio: float = 1.0,
) -> Tensor:
    """Draw the random crops of "Going deeper with convolutions" (arXiv 1409.4842, section 6).

    Each covers a share of its image's area uniform in `scale`, with an aspect ratio log-uniform
    within 3/4 … 4/3 of `target_ratio` (the model's width / height). If ten draws do not fit, the
    largest central box of an allowed aspect ratio is taken, as torchvision's RandomResizedCrop
    does (https://docs.pytorch.org/vision/stable/transforms.html).
    `aspect_ratios` (B,). Returns (B, 4) float64.
    """
    low, high = (bound * target_ratio for bound in _INCEPTION_RATIOS)
    boxes, found = random_boxes(aspect_ratios, generator, scale=scale, ratio=(low, high))
    fallback = central_boxes(aspect_ratios, aspect_ratios.clamp(low, high), share=1.0)
    return torch.where(found[:, None], boxes, fallback)


def central_boxes(
    aspect_ratios: Tensor, target_ratios: Tensor | float = 1.0, *, share: float = _EVALUATION_SHARE
) -> Tensor:
    """Return the largest central boxes of `target_ratios`, shrunk to `share` of their sides.

    With 7/8 this is the usual evaluation crop: the shorter side resized to 8/7 of the model's
    size, and the model's size cut from the centre. `aspect_ratios` (B,). Returns (B, 4) float64.
    """
    stretch = torch.as_tensor(target_ratios, dtype=torch.float64) / aspect_ratios.double()  # (B,)
    sides = torch.stack([stretch, 1 / stretch], dim=1).clamp_(max=1) * share
    return torch.cat([(1 - sides) / 2, (1 + sides) / 2], dim=1)


def inception_pixel_box(
    width: int,
    height: int,
    image_size: tuple[int, int],
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
) -> PixelBox:
    """Draw one box of `inception_boxes` for an image of `width` x `height` pixels.

    `image_size` is the model's (H, W). The result is what `PIL.Image.resize(…, box=…)` takes.
    """
    aspect_ratio = torch.tensor([width / height], dtype=torch.float64)
    target_ratio = image_size[1] / image_size[0]
    boxes = inception_boxes(aspect_ratio, generator, scale=scale, target_ratio=target_ratio)
    return _to_pixels(boxes[0], width, height)


def central_pixel_box(width: int, height: int, image_size: tuple[int, int]) -> PixelBox:
    """Return the evaluation crop of one image, as `PIL.Image.resize(…, box=…)` takes it.

    An image that already has the model's `image_size` (H, W) is used whole.
    """
    if (height, width) == tuple(image_size):
        return (0.0, 0.0, float(width), float(height))
    aspect_ratio = torch.tensor([width / height], dtype=torch.float64)
    boxes = central_boxes(aspect_ratio, image_size[1] / image_size[0])
    return _to_pixels(boxes[0], width, height)


def _to_pixels(box: Tensor, width: int, height: int) -> PixelBox:
    left, top, right, bottom = box.tolist()
    return (left * width, top * height, right * width, bottom * height)


def extract(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut `boxes`, rounded to whole pixels, out of `images` and resize them to `size` (H, W).

    Bilinear interpolation, with the filter widened where the image shrinks, so that fine texture
    is averaged and not aliased: to one grey level what Pillow's crop and resize with BILINEAR
    compute. `images` (B, C, H, W) uint8, `boxes` (B, 4). Returns (B, C, *size) uint8.
    """
    height, width = images.shape[-2:]
    starts, stops = boxes.cpu().double().view(-1, 2, 2).unbind(1)  # (B, 2) each: x, y
    sides = torch.tensor([width, height])
    low = (torch.minimum(starts, stops) * sides).round().long().clamp(max=sides - 1)
    high = (torch.maximum(starts, stops) * sides).round().long().clamp(min=low + 1)
    mirrored = starts[:, 0] > stops[:, 0]
    # One image after the other is much the faster on a CPU, but would leave a GPU idle.
    cut = _extract_one_by_one if images.device.type == "cpu" else _extract_together
    return cut(images, low, high, mirrored, size)


def _extract_one_by_one(
    images: Tensor, low: Tensor, high: Tensor, mirrored: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut out what lies from `low` to before `high` (B, 2), x and y in pixels."""
    parts = images.new_empty(*images.shape[:2], *size)
    bounds = torch.cat([low, high], dim=1).tolist()
    for image, part, (left, top, right, bottom), flip in zip(
        images, parts, bounds, mirrored.tolist(), strict=True
    ):
        resized = functional.interpolate(
            image[None, :, top:bottom, left:right], size, mode="bilinear", antialias=True
        )[0]
        part.copy_(resized.flip(2) if flip else resized)
    return parts


def _extract_together(
    images: Tensor, low: Tensor, high: Tensor, mirrored: Tensor, size: tuple[int, int]
) -> Tensor:
    """Do the same as two batched matrix products, one a side."""
    count, channels, height, width = images.shape
    low, high = low.to(images.device), high.to(images.device)
    columns = _filter_weights(low[:, 0], high[:, 0], width, size[1])  # (B, w, W)
    columns = torch.where(mirrored.to(images.device)[:, None, None], columns.flip(1), columns)
    rows = _filter_weights(low[:, 1], high[:, 1], height, size[0])  # (B, h, H)
    with torch.autocast(images.device.type, enabled=False):
        pixels = images.float().view(count, channels * height, width) @ columns.mT
        pixels = rows[:, None] @ pixels.view(count, channels, height, size[1])  # (B, C, h, w)
    # Above 255 by rounding, if products in reduced precision are allowed, would wrap to black.
    return pixels.round_().clamp_(max=255).to(torch.uint8)


def _filter_weights(low: Tensor, high: Tensor, pixels: int, samples: int) -> Tensor:
    """Return the share of each source pixel in each sample of what lies from `low` to `high`.

    `low`, `high` (B,) int64 in 0 … pixels. Returns (B, samples, pixels), each row summing to 1.
    """
    step = ((high - low) / samples)[:, None]  # (B, 1) source pixels a sample
    position = torch.arange(pixels, device=low.device)
    centres = low[:, None] + (torch.arange(samples, device=low.device) + 0.5) * step
    distance = (position + 0.5 - centres[:, :, None]).abs()  # (B, samples, pixels)
    weights = (1 - distance / step.clamp(min=1)[:, :, None]).clamp_(min=0)
    weights *= ((position >= low[:, None]) & (position < high[:, None]))[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def rectangle_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return (B, 1, H, W) bool: the pixels whose centre lies in `boxes` (B, 4), on their device."""
    left, top, right, bottom = boxes[:, :, None].unbind(1)  # (B, 1) each
    x = (torch.arange(width, device=boxes.device) + 0.5) / width
    y = (torch.arange(height, device=boxes.device) + 0.5) / height
    columns = (x >= left) & (x < right)  # (B, W)
    rows = (y >= top) & (y < bottom)  # (B, H)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
