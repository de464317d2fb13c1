import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_macs, fold, summarize_model
from mlpmixer.models.registry import create_model

FAMILIES = ("mixer", "vit", "bit", "nfnet", "halonet")


def hollow(name: str, **options: object) -> ImageModel:
    with torch.device("meta"):
        return create_model(name, **options)  # type: ignore[arg-type]


def bytes_really_kept(model: ImageModel, images: torch.Tensor) -> int:
    own = {parameter.data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(sizes.values())


def test_mixer_b16_has_the_papers_size_and_cost() -> None:
    summary = summarize_model(hollow("mixer_b16"))
    assert summary.parameters == 59_880_472
    assert summary.gmacs == pytest.approx(12.6, abs=0.05)
    assert (summary.tokens, summary.num_features) == (196, 768)


def test_the_largest_model_is_measured_without_its_weights() -> None:
    summary = summarize_model(hollow("mixer_h14"))
    assert summary.parameters == 432_350_952
    assert summary.gmacs == pytest.approx(121.0, abs=0.05)


def test_attention_counts_as_multiplications() -> None:
    tokens, width = 197, 768
    summary = summarize_model(hollow("vit_b16"))
    attention = next(layer for layer in summary.layers if layer.kind == "Attention")
    assert attention.macs == 2 * tokens**2 * width
    assert summary.tokens == tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_add_up_to_the_totals(family: str) -> None:
    summary = summarize_model(hollow(f"{family}_nano"))
    assert summary.macs == count_macs(hollow(f"{family}_nano"))
    for rows in (summary.layers, fold(summary.layers), fold(summary.layers, limit=8)):
        assert sum(row.parameters * row.count for row in rows) == summary.parameters
        assert sum(row.macs * row.count for row in rows) == summary.macs


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_memory_is_what_a_real_step_keeps(family: str) -> None:
    model = create_model(f"{family}_nano", image_size=16, dropout=0.1)
    images = torch.randn(3, 3, 16, 16)
    measured = bytes_really_kept(model, images) - bytes_really_kept(model, images[:2].clone())
    assert summarize_model(model).activation_bytes == measured


def test_checkpointing_and_low_precision_keep_less() -> None:
    model = hollow("mixer_nano")
    full = summarize_model(model).activation_bytes
    model.set_grad_checkpointing(True)
    assert summarize_model(model).activation_bytes < full / 4
    half = hollow("mixer_nano").bfloat16()
    assert summarize_model(half).activation_bytes == pytest.approx(full / 2, rel=0.05)


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = create_model("bit_nano").eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summarize_model(model)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_layers_stand_in_order_of_execution() -> None:
    names = [layer.name for layer in summarize_model(hollow("mixer_nano", depth=2)).layers]
    parts = ("norm1", "mlp_tokens.fc1", "mlp_tokens.fc2")
    parts += ("norm2", "mlp_channels.fc1", "mlp_channels.fc2")
    blocks = [f"blocks.{i}.{part}" for i in range(2) for part in parts]
    assert names == ["stem.proj", *blocks, "norm", "head"]


def test_output_shapes_are_those_of_the_batch() -> None:
    summary = summarize_model(hollow("mixer_nano", num_classes=7), batch_size=4)
    assert summary.layers[0].output_shape == (4, 64, 128)
    assert summary.layers[-1].output_shape == (4, 7)


def test_blocks_that_are_alike_become_one_row() -> None:
    rows = {row.name: row.count for row in fold(summarize_model(hollow("mixer_b16")).layers)}
    assert rows["blocks.0-11.mlp_tokens.fc1"] == 12
    assert rows["stem.proj"] == 1
    assert len(rows) == 9


def test_blocks_that_differ_stay_apart() -> None:
    rows = {row.name: row.count for row in fold(summarize_model(hollow("bit_nano")).layers)}
    assert rows["net.stages.1.blocks.0.conv1"] == 1
    assert rows["net.stages.1.blocks.1.conv1"] == 1
    assert rows["net.stages.2.blocks.1-2.conv1"] == 2


def test_a_deep_network_is_shown_by_its_blocks() -> None:
    summary = summarize_model(hollow("bit_r152x4"))
    rows = fold(summary.layers)
    assert len(rows) <= 40
    repeated = next(row for row in rows if row.name == "net.stages.2.blocks.1-35")
    assert (repeated.kind, repeated.count) == ("PreActBottleneck", 35)
    assert sum(row.parameters * row.count for row in rows) == summary.parameters


def test_a_model_of_other_colours_is_measured() -> None:
    grey = hollow("mixer_nano", in_channels=1)
    assert count_macs(grey) == summarize_model(grey).macs < count_macs(hollow("mixer_nano"))
