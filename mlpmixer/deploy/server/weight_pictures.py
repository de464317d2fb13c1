"""What a model has learned, as pictures: the token mixing of its first blocks."""

from mlpmixer.deploy.predictor import Predictor
from mlpmixer.measures.spatial_order import paired_sample
from mlpmixer.models.weight_images import token_mixing_weights
from mlpmixer.report.mosaics import unit_mosaic

MOST_BLOCKS = 3
"""That are shown of a model."""
_UNITS = 64
_ROOM = (280, 280)  # pixels of the screen: three beside each other, or one on a phone


def drawn_blocks(predictor: Predictor) -> int:
    """Return how many blocks can be drawn; 0 of a model without token mixing, or exported."""
    model = predictor.model
    return 0 if model.patch_grid is None else min(MOST_BLOCKS, len(model.token_mlps()))


def draw_block(predictor: Predictor, block: int) -> bytes:
    """Return what hidden units of a block's token mixing take from each patch, as PNG.

    Up to 64 units, in pairs of opposite sign from coarse to fine. Red is positive, blue negative.
    `block` counts from 0, below `drawn_blocks`.
    """
    units = token_mixing_weights(predictor.model)[block].inputs.numpy()  # (D_S, grid_h, grid_w)
    return unit_mosaic(units[paired_sample(units, _UNITS)], _ROOM).shown_png()
