"""Dropout belongs to the positions of a batch, not to how it is shared out."""

import torch
from torch import nn

from mlpmixer.models.layers import StochasticDepth
from mlpmixer.training.by_position import draw_by_position


def test_a_part_drops_what_the_whole_batch_drops_there() -> None:
    for layer in (nn.Dropout(0.5), StochasticDepth(0.5)):
        model = nn.Sequential(layer)
        positions = draw_by_position(model)
        values, shown = torch.ones(8, 6, 5), torch.tensor([1, 4, 7])
        torch.manual_seed(0)
        whole = model(values)
        positions.batch, positions.shown = len(values), shown
        torch.manual_seed(0)
        assert torch.equal(model(values[shown]), whole[shown])
        assert 0 < (whole == 0).sum() < whole.numel()


def test_layers_that_drop_nothing_keep_nothing_for_the_backward_pass() -> None:
    model = nn.Sequential(nn.Dropout(0.0), StochasticDepth(0.0))
    positions = draw_by_position(model)
    positions.batch, positions.shown = 4, torch.tensor([0, 2])
    values = torch.ones(2, 3, 5, requires_grad=True)
    assert model(values) is values
