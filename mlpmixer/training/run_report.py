"""What the report says about a finished training, gathered from model, data and predictions."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mlpmixer.data.batches import Images
from mlpmixer.data.dataset import Split
from mlpmixer.data.duplicates import Duplicates
from mlpmixer.data.label_sets import class_counts
from mlpmixer.data.picture import decode
from mlpmixer.data.splits import Subset
from mlpmixer.evaluation.classify import Evaluation, Predictions
from mlpmixer.formatting import without_secrets
from mlpmixer.models.interface import ImageModel
from mlpmixer.models.model_summary import count_parameters
from mlpmixer.models.preprocessing import SixteenBit
from mlpmixer.models.weight_images import stem_filters, token_mixing_weights
from mlpmixer.report.run_contents import DatasetFacts, Mistake, ReportContents, SkippedImage
from mlpmixer.report.thumbnails import SIDE
from mlpmixer.run.directory import RunDirectory
from mlpmixer.runtime import machine
from mlpmixer.training.plan import Plan

MISTAKES = 24
"""Pictures of wrong predictions that a report shows."""


def report_contents(
    planned: Plan,
    run: RunDirectory,
    images: Mapping[str, Images],
    duplicates: Duplicates,
    *,
    split: str,
    model: ImageModel,
    evaluation: Evaluation,
    ended: str,
    seconds: float,
    peak_memory_bytes: int,
) -> ReportContents:
    """Gather a report on a training.

    Args:
        planned: what was trained, on what.
        run: has the records of the training.
        images: the splits as they were read.
        duplicates: among the images of the data.
        split: which images the model was evaluated on.
        model: the best one.
        evaluation: of that model.
        ended: why the training ended before its budget did; "" where it did not.
        seconds: time spent training.
        peak_memory_bytes: that the training took.
    """
    recipe, dataset, records = planned.recipe, planned.dataset, run.records()
    speeds = [one["images_per_second"] for one in records if "images_per_second" in one]
    teaching = [one["teacher_time"] for one in records if "teacher_time" in one]
    unreadable = {
        name: reason for part in images.values() for name, reason in part.unreadable.reasons.items()
    }
    classified = Subset(dataset.splits[split], evaluation.predictions.indices)
    where = shlex.quote(str(run.path))
    return ReportContents(
        title=f"{recipe.model.model} on {Path(without_secrets(recipe.data.data)).name}",
        model=recipe.model.model,
        class_names=dataset.class_names,
        class_correct=evaluation.confusion.correct,
        class_total=evaluation.confusion.total,
        class_tested=class_counts(classified, len(dataset.class_names)),
        class_trained=class_counts(dataset.splits["train"], len(dataset.class_names)),
        split=split,
        confusion=evaluation.confusion,
        metrics=evaluation.metrics,
        calibration=evaluation.calibration,
        exclusive=model.loss == "softmax",
        mistakes=worst_mistakes(
            evaluation.predictions,
            dataset.splits[split],
            dataset.class_names,
            model.preprocessing.sixteen_bit,
            source=dataset.spec,
        ),
        dataset=DatasetFacts(
            name=dataset.spec,
            images={name: len(part) for name, part in images.items()},
            notes=(*planned.notes, *duplicates.sentences()),
            shared=duplicates.across,
            conflicting_labels=duplicates.conflicting,
            unreadable=tuple(
                SkippedImage(_public(name, dataset.spec), reason)
                for name, reason in unreadable.items()
            ),
        ),
        records=tuple(records),
        ended=ended,
        parameters=count_parameters(model),
        training_seconds=seconds,
        training_images_per_second=median(speeds) if speeds else None,
        teacher_time=fmean(teaching) if teaching else None,
        evaluation_images_per_second=evaluation.images_per_second,
        peak_memory_bytes=peak_memory_bytes,
        recipe_toml=recipe.to_toml(),
        machine=machine(model.device),
        commands={
            "Train it again": f"mixer train --recipe {where}/recipe.toml --out {where}-again",
            "Evaluate it on other images": f"mixer eval {where} --data FOLDER",
            "Use it in Python": f"model = mlpmixer.load({str(run.path)!r})",
        },
        finished=datetime.now().strftime("%Y-%m-%d %H:%M"),
        **learned_weights(model),
    )


def worst_mistakes(
    predictions: Predictions,
    split: Split,
    class_names: Sequence[str],
    sixteen_bit: SixteenBit,
    *,
    source: str,
) -> tuple[Mistake, ...]:
    """Return the wrong predictions that the model was surest of, the surest first.

    Of large pictures no more is kept than a page shows. `source` is what the user gave to --data.
    """
    return tuple(
        Mistake(
            picture=decode(
                split, int(predictions.indices[row]), at_least=2 * SIDE, sixteen_bit=sixteen_bit
            ),
            true=class_names[predictions.labels[row]],
            predicted=class_names[predictions.predicted[row]],
            probability=float(predictions.confidence[row]),
            name=_public(split.name(int(predictions.indices[row])), source),
        )
        for row in predictions.surest_mistakes(MISTAKES)
    )


def _public(name: str, source: str) -> str:
    """Return an image's name without the keys that the address of its source may hold."""
    query = source[source.find("?") :] if "://" in source and "?" in source else ""
    return without_secrets(name.replace(query, ""))


def learned_weights(model: ImageModel) -> dict[str, Any]:
    """Return stem filters and token-mixing input weights; nothing where no tokens are mixed."""
    mixing = token_mixing_weights(model)
    if not mixing:
        return {}
    filters = stem_filters(model)
    shown = dict.fromkeys((0, len(mixing) // 2, len(mixing) - 1))
    return {
        "stem_filters": None if filters is None else filters.numpy(),
        "token_mixing_units": {f"block {i + 1}": mixing[i].inputs.numpy() for i in shown},
    }
