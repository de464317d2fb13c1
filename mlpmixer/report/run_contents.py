"""What the report page tells. Plain numbers, arrays and pictures; who fills it is above."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlpmixer.measures.calibration import Calibration
from mlpmixer.measures.confusion import Confusion

OF_EACH_CLASS = "Probabilities are of each class by itself: those of an image need not sum to 1."
"""What a reader must know of a model that was trained with the sigmoid loss."""


@dataclass(frozen=True)
class Mistake:
    """A picture whose class was predicted wrongly."""

    picture: Image.Image
    true: str
    predicted: str
    probability: float
    """What the model gave the predicted class, in [0, 1]."""
    name: str = ""
    """The image's path or key, so that its label can be checked."""


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """The data in words and numbers."""

    name: str
    images: Mapping[str, int]
    """Images in each split."""
    notes: tuple[str, ...] = ()
    """What a reader should know: how validation was held out, copies, what was passed over."""
    unreadable: tuple[SkippedImage, ...] = ()
    shared: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Two splits that have pictures in common, and how many images of the second one they are."""
    conflicting_labels: int = 0
    """Images of which there is a copy with another label."""


@dataclass(frozen=True, kw_only=True)
class ReportContents:
    """All that the page shows. What is None or empty is left out of it.

    Raises:
        ValueError: if the arrays do not fit the number of classes, K, or nothing was tested.
    """

    title: str
    model: str
    class_names: tuple[str, ...]
    class_correct: NDArray[np.integer]
    """(K,): images of each class that were classified rightly."""
    class_total: NDArray[np.integer]
    """(K,): images of each class; of several classes that the model prefers counts."""
    class_tested: NDArray[np.integer] | None = None
    """(K,): images that have each class, of several all; None: as `class_total`."""
    class_trained: NDArray[np.integer] | None = None
    """(K,): images of each class that were trained on."""
    split: str = "test"
    """The split that was evaluated."""
    confusion: Confusion | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Values of `measures.metrics.METRICS`, by their names there; the accuracy is known without."""
    calibration: Calibration | None = None
    exclusive: bool = True
    """Whether the probabilities of an image sum to 1, or each class has one of its own."""
    mistakes: tuple[Mistake, ...] = ()
    """The worst first. The page shows up to 48."""

    dataset: DatasetFacts
    records: tuple[Mapping[str, object], ...] = ()
    """The lines of metrics.jsonl; `curves.training_curves` names what it reads of them."""
    ended: str = ""
    """Why the training ended before its budget, in a sentence without full stop."""
    parameters: int | None = None
    training_seconds: float | None = None
    training_images_per_second: float | None = None
    teacher_time: float | None = None
    """Share of the training's time in which a teacher answered, in [0, 1]; None without one."""
    evaluation_images_per_second: float | None = None
    peak_memory_bytes: int | None = None

    stem_filters: NDArray[np.floating] | None = None
    """(C, P, P, 3): the patch embedding's weights."""
    token_mixing_units: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    """Block's name to (D_S, grid_h, grid_w): input weights of its token-mixing hidden units."""

    recipe_toml: str = ""
    machine: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    """What a command does to the command: "Train it again" to "mixer train …"."""
    finished: str = ""
    """When, as text."""

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        for name in ("class_correct", "class_total", "class_tested", "class_trained"):
            array = getattr(self, name)
            if array is not None and array.shape != (classes,):
                raise ValueError(f"{name} has shape {array.shape}, not {(classes,)}")
        if self.confusion is not None and self.confusion.classes != classes:
            raise ValueError(f"confusion is of {self.confusion.classes} classes, not {classes}")
        if self.total == 0:
            raise ValueError("a report needs at least one evaluated image")

    @property
    def correct(self) -> int:
        """Images classified rightly."""
        return int(self.class_correct.sum())

    @property
    def total(self) -> int:
        """Images evaluated."""
        return int(self.class_total.sum())

    @property
    def accuracy(self) -> float:
        """Share of the images classified rightly, in [0, 1]."""
        return self.correct / self.total

    @property
    def tested(self) -> NDArray[np.integer]:
        """Evaluated images that have each class, (K,)."""
        return self.class_total if self.class_tested is None else self.class_tested

    @property
    def most_frequent_class(self) -> int:
        """Index of the class that the most evaluated images have."""
        return int(self.tested.argmax())

    @property
    def baseline(self) -> float:
        """Accuracy of always answering the most frequent class, in [0, 1]."""
        return int(self.tested.max()) / self.total
