"""Weights that are pictures."""

import pytest
import torch

import mlpmixer
from mlpmixer.models.mixer import Mixer
from mlpmixer.models.weight_images import stem_filters, token_mixing_weights


def mixer(**options: object) -> Mixer:
    shape = {"patch_size": 2, "width": 6, "depth": 2, "tokens_mlp_dim": 3, "channels_mlp_dim": 4}
    model = mlpmixer.create_model("mixer", image_size=(4, 8), num_classes=5, **shape, **options)
    assert isinstance(model, Mixer)
    return model


def test_a_patch_like_a_filter_excites_its_channel() -> None:
    model = mixer()
    filters = stem_filters(model)
    assert filters is not None
    assert filters.shape == (6, 2, 2, 3)
    image = torch.zeros(1, 3, 4, 8)
    image[0, :, 2:4, 4:6] = filters[1].permute(2, 0, 1)  # the patch in row 1, column 2
    tokens = model.stem(image)[0].detach()
    assert tokens[1 * 4 + 2, 1] == pytest.approx(float(filters[1].square().sum()))
    assert tokens[0, 1] == 0


def test_token_mixing_weights_lie_where_their_patches_lie() -> None:
    model = mixer()
    with torch.no_grad():
        model.blocks[1].mlp_tokens.fc1.weight[2, 1 * 4 + 3] = 7.0
        model.blocks[1].mlp_tokens.fc2.weight[0 * 4 + 1, 2] = 5.0
    weights = token_mixing_weights(model)
    assert weights[1].inputs.shape == weights[1].outputs.shape == (3, 2, 4)
    assert weights[1].inputs[2, 1, 3] == 7.0
    assert weights[1].outputs[2, 0, 1] == 5.0


@pytest.mark.parametrize("name", ["vit_nano", "bit_nano", "nfnet_nano", "halonet_nano"])
def test_the_rivals_have_filters_too(name: str) -> None:
    filters = stem_filters(mlpmixer.create_model(name))
    assert filters is not None
    assert filters.shape[3] == 3
    if name == "bit_nano":  # its weights are standardised before they are used
        assert filters.mean(dim=(1, 2, 3)).abs().max() < 1e-6


def test_filters_of_other_than_three_colours_are_no_pictures() -> None:
    assert stem_filters(mixer(in_channels=1)) is None
