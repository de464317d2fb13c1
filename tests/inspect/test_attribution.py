"""What a prediction rests on, of models that are made to rest on something known."""

import pytest
import torch

import mlpmixer
from mlpmixer.inspect.attribution import attribute, log_odds, usual_grid
from mlpmixer.models.mixer import Mixer
from mlpmixer.runtime import Runtime

RUNTIME = Runtime(torch.device("cpu"))


def looks_at(row: int, column: int) -> Mixer:
    """Return a Mixer whose prediction depends on one patch of 4x6 alone."""
    torch.manual_seed(0)
    shape = {"patch_size": 2, "width": 8, "depth": 1, "tokens_mlp_dim": 1, "channels_mlp_dim": 4}
    model = mlpmixer.create_model("mixer", image_size=(8, 12), num_classes=3, **shape)
    assert isinstance(model, Mixer)
    mixing = model.blocks[0].mlp_tokens
    with torch.no_grad():
        model.head.weight.normal_()
        model.blocks[0].mlp_channels.fc2.weight.zero_()
        mixing.fc1.weight.zero_()
        mixing.fc1.weight[0, row * 6 + column] = 1.0  # the only unit reads this patch
        mixing.fc2.weight.fill_(1e4)  # and what it writes drowns all else
    return model.eval()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (3, 1)])
def test_both_ways_point_to_the_patch_that_counts(row: int, column: int) -> None:
    model = looks_at(row, column)
    image = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    maps = attribute(model, image, runtime=RUNTIME, batch_size=7)
    for values in (maps.occlusion, maps.gradient_input, maps.sensitivity):
        assert values.shape == (4, 6)
        share = values.abs() / values.abs().sum()
        assert share[row, column] > 0.95


def test_the_maps_belong_to_the_predicted_class_and_its_probability() -> None:
    model = looks_at(1, 1)
    image = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    probabilities = model(image[None]).softmax(dim=1)[0].detach()
    maps = attribute(model, image, runtime=RUNTIME)
    assert maps.predicted == int(probabilities.argmax())
    assert maps.probability == pytest.approx(float(probabilities.max()), abs=1e-5)
    painted = image.clone()
    painted[:, 2:4, 2:4] = image.mean(dim=(1, 2))[:, None, None]
    left = model(painted[None]).softmax(dim=1)[0, maps.predicted].detach()
    assert float(maps.occluded_probability[1, 1]) == pytest.approx(float(left), abs=1e-5)


def test_the_gradient_estimates_the_loss_of_a_nearly_linear_model() -> None:
    model = looks_at(1, 1)
    with torch.no_grad():
        model.blocks[0].mlp_tokens.fc2.weight.zero_()  # only the stem and the norm are left
    image = 1e-3 * torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1)) + 0.3
    maps = attribute(model, image, runtime=RUNTIME)
    torch.testing.assert_close(maps.gradient_input, maps.occlusion, rtol=0.05, atol=1e-5)


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    of_softmax = log_odds(logits, 2, "softmax")
    torch.testing.assert_close(of_softmax.sigmoid(), logits.softmax(dim=1)[:, 2])
    torch.testing.assert_close(log_odds(logits, 2, "sigmoid"), logits[:, 2])
    torch.testing.assert_close(log_odds(logits[:, :1], 0, "softmax"), logits[:, 0])


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [("mixer_nano", 8, (8, 8)), ("vit_nano", 32, (8, 8)), ("bit_nano", 30, (8, 8)),
     ("bit_nano", (32, 64), (8, 16))],
)  # fmt: skip
def test_every_family_has_a_grid(
    name: str, size: int | tuple[int, int], grid: tuple[int, int]
) -> None:
    model = mlpmixer.create_model(name, image_size=size).eval()
    height, width = model.image_size
    assert (model.patch_grid or usual_grid((height, width))) == grid
    maps = attribute(model, torch.rand(3, height, width), runtime=RUNTIME)
    assert maps.occlusion.shape == maps.sensitivity.shape == grid
