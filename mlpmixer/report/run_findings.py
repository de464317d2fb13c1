"""What the numbers say about whether a classifier can be trusted, in sentences."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlpmixer.formatting import capitalized, counted, percent, shortened
from mlpmixer.measures.calibration import TOLERATED_ERROR, confidence_is_off
from mlpmixer.measures.intervals import wilson_interval, wilson_intervals
from mlpmixer.report.run_contents import ReportContents

_WIDE_INTERVAL = 0.05  # from its lower to its upper end
_CLASS_BEHIND = 0.15  # or half of the accuracy, where that is less
_OVERFITTED = 0.10
_FEW_IMAGES = 10  # of a class: its accuracy says little


@dataclass(frozen=True)
class Finding:
    """One thing to know before relying on the model."""

    good: bool
    title: str
    text: str


def findings(contents: ReportContents) -> list[Finding]:
    """Return what speaks for and against trusting the model, warnings first."""
    found = [
        _baseline(contents),
        _sample(contents),
        _calibration(contents),
        _untested(contents),
        _weakest_class(contents),
        _overfitting(contents),
        _shared(contents),
        _conflicting_labels(contents),
        _unreadable(contents),
    ]
    return sorted(filter(None, found), key=lambda finding: finding.good)


def _baseline(contents: ReportContents) -> Finding | None:
    name = shortened(contents.class_names[contents.most_frequent_class], 30)
    low, _ = wilson_interval(contents.correct, contents.total)
    if low > contents.baseline:
        return None  # the headline's scale shows it
    return Finding(
        False,
        "Hardly better than guessing",
        f"Always answering “{name}” would be right for {percent(contents.baseline)}.",
    )


def _sample(contents: ReportContents) -> Finding:
    low, high = wilson_interval(contents.correct, contents.total)
    interval = f"between {percent(low)} and {percent(high)}"
    if contents.split != "test":
        return Finding(
            False,
            f"Measured on {contents.split} images",
            "They may have taken part in making or choosing this model. "
            "Expect less on new images; hold a test split out to know how much.",
        )
    if high - low > _WIDE_INTERVAL:
        return Finding(
            False,
            f"Only {counted(contents.total, 'image')} tested",
            f"The accuracy may well be anywhere {interval}. More test images would tell.",
        )
    return Finding(
        True,
        "Enough test images",
        f"{contents.total:,} images put the accuracy {interval}.",
    )


def _calibration(contents: ReportContents) -> Finding | None:
    if contents.calibration is None:
        return None
    error = contents.calibration.expected_error
    off = f"Its probabilities are off by {100 * error:.1f} points on average"
    if error <= TOLERATED_ERROR:
        return Finding(True, "Honest confidence", f"{off}.")
    confidence, accuracy = contents.calibration.mean_confidence, contents.calibration.mean_accuracy
    if not confidence_is_off(error, contents.correct, contents.total, confidence):
        return Finding(
            False,
            "Too few images to judge its confidence",
            f"{off}, which chance can make of {counted(contents.total, 'image')}.",
        )
    if abs(confidence - accuracy) < error / 2:
        return Finding(
            False,
            "Uneven confidence",
            f"{off}: too high for some images, too low for others. Do not take them at their word.",
        )
    return Finding(
        False,
        "Over-confident" if confidence > accuracy else "Under-confident",
        f"It claims {percent(confidence)} on average and is right for {percent(accuracy)}. "
        "Do not take its probabilities at their word.",
    )


def _untested(contents: ReportContents) -> Finding | None:
    untested = int((contents.tested == 0).sum())
    if untested == 0:
        return None
    return Finding(
        False,
        "Untested classes",
        f"{untested:,} of {len(contents.tested):,} classes have no {contents.split} image.",
    )


def _weakest_class(contents: ReportContents) -> Finding | None:
    tested = np.flatnonzero(contents.class_total)
    if len(tested) < 2:
        return None
    correct, total = contents.class_correct[tested], contents.class_total[tested]
    shares = correct / total
    far = shares < max(contents.accuracy - _CLASS_BEHIND, contents.accuracy / 2)
    # The weakest of many classes is weak by chance.
    surely = wilson_intervals(correct, total, together=True)[:, 1] < contents.accuracy
    judged = total >= _FEW_IMAGES
    behind = np.flatnonzero(far & surely)
    among = behind if len(behind) else np.flatnonzero(judged)
    if len(among) == 0:
        return None
    weakest = int(among[shares[among].argmin()])
    name = shortened(contents.class_names[tested[weakest]], 30)
    recognised = f"is recognised in {percent(float(shares[weakest]))} of its images"
    if len(behind) == 1:
        return Finding(False, "A class falls behind", f"“{name}” {recognised}.")
    text = f"The weakest, “{name}”, {recognised}"
    if len(behind):
        return Finding(False, f"{len(behind):,} classes fall behind", f"{text}.")
    if far[weakest]:
        text += f", which chance can make of {counted(int(total[weakest]), 'image')}"
    if few := int((~judged).sum()):
        return Finding(
            True,
            f"None of {counted(len(among), 'class', 'classes')} clearly falls behind",
            f"{text}. {counted(few, 'class', 'classes')} with fewer than {_FEW_IMAGES} images "
            "cannot be judged.",
        )
    title = "No class clearly falls behind" if far[weakest] else "No class falls far behind"
    return Finding(True, title, f"{text}.")


def _overfitting(contents: ReportContents) -> Finding | None:
    train = _last(contents.records, "train_accuracy")
    validation = _last(contents.records, "validation_accuracy")
    if train is None or validation is None or train - validation < _OVERFITTED:
        return None
    return Finding(
        False,
        "Over-fitted",
        f"It ended at {percent(train)} on training and {percent(validation)} on validation images. "
        "More data or stronger augmentation may help.",
    )


def _conflicting_labels(contents: ReportContents) -> Finding | None:
    count = contents.dataset.conflicting_labels
    if count == 0:
        return None
    return Finding(
        False,
        "One picture, two labels",
        f"Images of which a copy has another label: {count:,}. One of the labels is wrong.",
    )


def _unreadable(contents: ReportContents) -> Finding | None:
    count = len(contents.dataset.unreadable)
    if count == 0:
        return None
    title = "1 unreadable image" if count == 1 else f"{count:,} unreadable images"
    return Finding(False, title, "Left out of everything here; listed under Data.")


def _shared(contents: ReportContents) -> Finding | None:
    """Return a warning where images that were tested on are also among those learnt from."""
    shared = {pair: n for pair, n in contents.dataset.shared.items() if contents.split in pair}
    if not shared:
        return None
    (first, second), count = max(shared.items(), key=lambda item: item[1])
    images = "image is" if count == 1 else "images are"
    return Finding(
        False,
        f"{capitalized(first)} and {second} share pictures",
        f"{count:,} {second} {images} also in {first}, to the last byte. "
        "The accuracy on new images is lower than the one here.",
    )


def _last(records: tuple[Mapping[str, object], ...], name: str) -> float | None:
    for record in reversed(records):
        value = record.get(name)
        if isinstance(value, int | float):
            return float(value)
    return None
