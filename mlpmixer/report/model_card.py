"""The model card of a run: what it is, how to use it, what was measured, what it cannot do."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from mlpmixer.formatting import counted, duration, magnitude, percent, printable, shortened
from mlpmixer.json_text import json_text
from mlpmixer.measures.calibration import confidence_is_off
from mlpmixer.measures.confusion import Confusion
from mlpmixer.measures.metrics import interval, shown
from mlpmixer.report.run_contents import OF_EACH_CLASS

_TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.j2"
_CONFUSIONS = 5
_CLASSES = 50
_NAME = 60  # characters of a class's name


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card tells. Nothing in it may name a folder of the machine."""

    model: str
    where: str
    """What `mlpmixer.load` takes: hf-hub:user/name, or a folder's name."""
    parameters: int
    image_size: tuple[int, int]
    num_classes: int
    class_names: tuple[str, ...] | None
    data: str | None = None
    """The training data's name."""
    start_from: str | None = None
    """The checkpoint that the training began with."""
    recipe_toml: str = ""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    """What evaluation.json holds; empty where nothing was measured."""
    records: tuple[Mapping[str, Any], ...] = ()
    """The lines of metrics.jsonl."""
    exclusive: bool = True
    """Whether the probabilities of an image sum to 1, or each class has one of its own."""


def model_card(facts: CardFacts) -> ModelCard:
    """Return the card, with the measures in its header for the hub to list.

    Raises:
        KeyError, TypeError, ValueError: the evaluation is not one.
    """
    height, width = facts.image_size
    measured = facts.evaluation
    names = facts.class_names
    return ModelCard.from_template(
        _header(facts),
        template_path=str(_TEMPLATE),
        title=_plain(_title(facts)),
        model=_plain(facts.model),
        parameters=magnitude(facts.parameters),
        size=f"{height}x{width}",
        height=height,
        width=width,
        classes=facts.num_classes,
        data=_plain(facts.data or "") or None,
        start_from=_plain(facts.start_from or "") or None,
        where_in_python=json_text(facts.where),
        where_in_shell=shlex.quote(facts.where),
        images=f"{measured['images']:,}" if measured else "",
        split=measured.get("split", ""),
        measures=_measures(measured, facts.num_classes) if measured else [],
        confusions=_confusions(measured) if measured else [],
        training=_training(facts.records),
        machine=_machine(measured.get("machine", {})),
        recipe=facts.recipe_toml.strip(),
        class_names=_listed(names) if names else "",
        limits=_limits(facts),
    )


def _title(facts: CardFacts) -> str:
    return f"{facts.model} on {facts.data}" if facts.data else facts.model


def _header(facts: CardFacts) -> ModelCardData:
    data = facts.data or ""
    on_the_hub = data.removeprefix("hf:").partition(":")[0] if data.startswith("hf:") else None
    start = facts.start_from or ""
    results = []
    if facts.evaluation:
        results.append(
            EvalResult(
                task_type="image-classification",
                dataset_type=on_the_hub or data or "unknown",
                dataset_name=on_the_hub or data or "unknown",
                dataset_split=facts.evaluation["split"],
                metric_type="accuracy",
                metric_value=round(float(facts.evaluation["top1"]), 4),
            )
        )
    header: dict[str, Any] = {
        "library_name": "mlpmixer",
        "pipeline_tag": "image-classification",
        "tags": [facts.model.partition("_")[0]],
        "metrics": ["accuracy"] if results else None,
        "datasets": [on_the_hub] if on_the_hub else None,
        "base_model": start.removeprefix("hf-hub:") if start.startswith("hf-hub:") else None,
    }
    return ModelCardData(
        model_name=_title(facts) if results else None, eval_results=results or None, **header
    )


def _measures(measured: Mapping[str, Any], classes: int) -> list[tuple[str, str]]:
    images, rows = int(measured["images"]), []
    for _, metric, value in shown(measured, classes):
        rows.append((metric.title, metric.show(value)))
        if ends := interval(metric, value, images):
            rows.append(("its 95 % interval", f"{percent(ends[0])} to {percent(ends[1])}"))
    return rows


def _confusions(measured: Mapping[str, Any]) -> list[str]:
    names = [_plain(shortened(name, _NAME)) for name in measured["per_class"]]
    found = Confusion.from_json(measured["confusion"]).most_confused(_CONFUSIONS)
    return [
        f"{names[one.true]} taken for {names[one.predicted]}: {one.count:,} "
        f"{'time' if one.count == 1 else 'times'} ({percent(one.share)} of its images)"
        for one in found
    ]


def _training(records: tuple[Mapping[str, Any], ...]) -> str:
    if not records:
        return ""
    last = records[-1]
    time = duration(float(last["seconds"]))
    return f"{counted(int(last['step']), 'step')}, {float(last['epoch']):,.1f} epochs, in {time}."


def _machine(machine: Mapping[str, str]) -> str:
    """Return what `mlpmixer.runtime.machine` tells, in words."""
    titles = {"python": "Python ", "torch": "PyTorch "}
    return _plain(", ".join(titles.get(name, "") + text for name, text in machine.items()))


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_plain(shortened(name, _NAME)) for name in names[:_CLASSES])
    rest = len(names) - _CLASSES
    return f"{shown} and {rest:,} more." if rest > 0 else f"{shown}."


def _limits(facts: CardFacts) -> list[str]:
    """Return what a user must know, in sentences that follow from the facts alone."""
    height, width = facts.image_size
    found = [
        f"Whatever an image shows, it is given one of the {facts.num_classes} classes.",
        f"Images are brought to {height}x{width} pixels; what needs more detail is not seen.",
    ]
    if not facts.exclusive:
        found.append(OF_EACH_CLASS)
    measured = facts.evaluation
    if measured:
        found.append(
            "The accuracy is that on images like those of the training; "
            "on images from elsewhere it was not measured."
        )
        if measured["split"] != "test":
            found.append(
                f"It was measured on {measured['split']} images, which may have taken part "
                "in making or choosing the model: expect less on new ones."
            )
        error = float(measured["expected_calibration_error"])
        images = int(measured["images"])
        right = round(float(measured["top1"]) * images)
        confidence = measured.get("mean_confidence")  # earlier versions did not keep it
        if confidence_is_off(error, right, images, confidence):
            found.append(
                f"Its confidence is off by {100 * error:.1f} points on average: do not take its "
                "probabilities at their word."
            )
        if untested := [n for n, a in measured["per_class"].items() if a is None]:
            found.append(
                f"No image counted for {counted(len(untested), 'class', 'classes')}: "
                "how well they are recognised is not known."
            )
    return found


def _plain(text: str) -> str:
    """Return text on one line, with Markdown's signs as themselves."""
    return _SIGNS.sub(r"\\\g<0>", printable(" ".join(text.split())))


_SIGNS = re.compile(r"[\\`*\[\]<>|#]|(?<![^\W_])_|_(?![^\W_])")  # within a word _ is itself
