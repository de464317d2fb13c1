"""Who teaches: what a teacher is shown, in which order it answers, and whom nobody can follow."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mlpmixer
from mlpmixer.errors import UsageError
from mlpmixer.models.interface import ImageModel
from mlpmixer.runtime import Runtime
from mlpmixer.training.recipe import Recipe
from mlpmixer.training.step import TrainingStep
from mlpmixer.training.teacher import Teacher, find_teacher

CPU = Runtime(torch.device("cpu"))
SHAPE = {"width": 16, "depth": 1, "tokens_mlp_dim": 8, "channels_mlp_dim": 32, "patch_size": 4}
NAMES = ("ant", "bee", "cat", "dog")


def model(size: int = 8, classes: int = 4, **options: Any) -> ImageModel:
    torch.manual_seed(1)
    made = mlpmixer.create_model(
        "mixer_nano", image_size=size, num_classes=classes, **SHAPE, **options
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def images(size: int = 8, count: int = 6) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1


def found(
    path: Path | str, class_names: tuple[str, ...] = NAMES, **options: Any
) -> tuple[Teacher, str]:
    """Return the teacher at a path for a student of 8 pixels."""
    recipe = Recipe().override({"teacher": str(path), **options})
    teacher, said = find_teacher(recipe, class_names, model(), CPU)
    assert teacher is not None
    return teacher, said


def saved(folder: Path, made: ImageModel, names: tuple[str, ...] | None = NAMES) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.safetensors"
    mlpmixer.save(made, path, names)
    return path


def test_a_teacher_of_the_same_size_sees_the_students_very_pixels(tmp_path: Path) -> None:
    teacher, _ = found(saved(tmp_path, model()))
    seen = images()
    assert torch.equal(teacher.seen(seen), seen)
    expected = model().eval()(seen)
    torch.testing.assert_close(teacher(seen), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
def test_a_teacher_of_another_size_sees_the_students_pixels_resized(
    resampling: Any, tmp_path: Path
) -> None:
    large = model(size=16)
    large.preprocessing = replace(large.preprocessing, resampling=resampling)
    teacher, said = found(saved(tmp_path, large))
    resized = F.interpolate(
        images(), (16, 16), mode=resampling, antialias=True, align_corners=False
    ).clamp(-1, 1)
    assert torch.equal(teacher.seen(images()), resized)
    expected = large.eval()(resized)
    torch.testing.assert_close(teacher(images()), expected, rtol=1e-4, atol=1e-4)
    assert "16x16 pixels" in said


def test_a_teacher_keeps_its_own_normalisation(tmp_path: Path) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    teacher, _ = found(saved(tmp_path, model(input_mean=mean, input_std=std)))
    shares = (images() + 1) / 2  # in [0, 1]
    normalised = (shares - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(teacher(images()), model().eval()(normalised), rtol=1e-3, atol=1e-3)


def test_a_comparator_can_teach(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vit = mlpmixer.create_model("vit_nano", image_size=16, patch_size=4, num_classes=4)
    nn.init.normal_(vit.net.head.weight)
    teacher, _ = found(saved(tmp_path, vit))
    expected = vit.eval()(teacher.seen(images()))
    torch.testing.assert_close(teacher(images()), expected, rtol=1e-4, atol=1e-4)


def test_the_authors_layout_can_teach_without_names_in_the_datas_order(tmp_path: Path) -> None:
    path = tmp_path / "Mixer.npz"
    theirs = model(gelu="tanh")
    mlpmixer.export(theirs, path, "google")
    teacher, said = found(path)
    torch.testing.assert_close(teacher(images()), theirs.eval()(images()), rtol=1e-4, atol=1e-4)
    assert "does not name its classes" in said


def test_classes_in_another_order_give_the_same_answers(tmp_path: Path) -> None:
    order = [2, 0, 3, 1]
    turned = model()
    with torch.no_grad():
        turned.head.weight.copy_(turned.head.weight[order].clone())
        turned.head.bias.copy_(turned.head.bias[order].clone())
    usual, _ = found(saved(tmp_path, model()))
    other, _ = found(saved(tmp_path, turned, tuple(NAMES[place] for place in order)))
    assert torch.equal(usual(images()), other(images()))
    assert usual.digest != other.digest  # they are other weights


def test_names_from_a_file_take_the_place_of_the_teachers(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("dog\ncat\nbee\nant\n")
    path = saved(tmp_path, model(), ("w", "x", "y", "z"))
    teacher, _ = found(path, teacher_class_names=str(names))
    expected = model().eval()(images()).flip(1)
    torch.testing.assert_close(teacher(images()), expected, rtol=1e-4, atol=1e-4)


def test_of_a_teacher_of_more_classes_those_of_the_data_count(tmp_path: Path) -> None:
    path = saved(tmp_path, model(classes=6), ("emu", "cat", "ant", "fox", "dog", "bee"))
    teacher, said = found(path)
    expected = model(classes=6).eval()(images())[:, [2, 5, 1, 4]]
    torch.testing.assert_close(teacher(images()), expected, rtol=1e-4, atol=1e-4)
    assert "of its 6 classes the 4 of the data count" in said


def test_a_teacher_answers_in_parts_as_in_one_piece_and_gives_no_gradients(tmp_path: Path) -> None:
    path = saved(tmp_path, model())
    whole, parts = found(path)[0], found(path, accumulate=3)[0]
    answers = parts(images())
    torch.testing.assert_close(answers, whole(images()), rtol=1e-5, atol=1e-5)
    assert not answers.requires_grad
    assert not answers.is_inference()  # a loss has to keep it for its backward pass
    assert not parts.model.training


def test_in_bfloat16_a_teacher_answers_nearly_the_same_and_is_learned_from() -> None:
    reduced = Runtime(torch.device("cpu"), torch.bfloat16)
    exact, rounded = (Teacher(model(), range(4), "softmax", one) for one in (CPU, reduced))
    answers, expected = rounded(images()), exact(images())
    assert answers.dtype == torch.float32
    largest = float(expected.abs().max())
    torch.testing.assert_close(answers, expected, rtol=0, atol=0.05 * largest)

    student = mlpmixer.create_model("mixer_nano", image_size=8, num_classes=4, **SHAPE)
    step = TrainingStep(student, Recipe().override({"learning_rate": 0.01}), reduced)
    targets = torch.full((6, 4), 0.25)
    losses = [float(step(images(), targets, n, 1.0, answers).loss) for n in range(30)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("own", "wanted"), [("softmax", "sigmoid"), ("sigmoid", "softmax"), ("sigmoid", "sigmoid")]
)
def test_the_loss_that_a_teacher_was_trained_with_is_read_from_its_file(
    own: Any, wanted: str, tmp_path: Path
) -> None:
    made = model()
    made.loss = own
    teacher, _ = found(saved(tmp_path, made), loss=wanted)
    logits, answers = made.eval()(images()), teacher(images())
    shown = answers.softmax(1) if wanted == "softmax" else answers.sigmoid()
    meant = logits.sigmoid() if own == wanted == "sigmoid" else logits.softmax(1)
    torch.testing.assert_close(shown, meant, rtol=1e-3, atol=1e-4)


def test_without_a_teacher_there_is_nothing_to_say() -> None:
    assert find_teacher(Recipe(), NAMES, model(), CPU) == (None, "")


@pytest.mark.parametrize(
    "changes",
    [{"teacher_weight": 0.5}, {"teacher_temperature": 2.0}, {"teacher_class_names": "x.txt"}],
)
def test_options_of_a_teacher_need_one(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(UsageError, match="belongs to a teacher: give --teacher too") as error:
        find_teacher(Recipe().override(changes), NAMES, model(), CPU)
    assert f"--{name.replace('_', '-')}" in str(error.value)


def test_a_teacher_that_lacks_a_class_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = saved(tmp_path, model(), ("ant", "bee", "cow", "emu"))
    with pytest.raises(UsageError) as error:
        found(path)
    said = str(error.value)
    assert "does not know 2 of the data's 4 classes: 'cat', 'dog'." in said
    assert "It knows 'cow', 'emu' instead." in said
    assert "--teacher-class-names FILE" in said


def test_a_teacher_without_names_and_of_another_number_of_classes_is_refused(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path, model(classes=7), None)
    with pytest.raises(UsageError, match=r"7 logits without names, the data 4 classes: .*FILE"):
        found(path)


def test_a_teacher_of_grey_images_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, model(in_channels=1))
    with pytest.raises(UsageError, match="takes images of 1 channels, the model of 3"):
        found(path)


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody"):
        found(tmp_path / "nobody.safetensors")


def test_the_digest_follows_from_weights_and_order_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, model())
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(path.read_bytes())
    assert found(path)[0].digest == found(copy)[0].digest
    assert found(path)[0].digest != found(path, tuple(reversed(NAMES)))[0].digest
    assert found(path)[0].digest != found(path, loss="sigmoid")[0].digest
