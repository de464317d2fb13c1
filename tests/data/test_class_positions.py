"""Classes of models and data are matched by name."""

import unicodedata

from mlpmixer.data.class_positions import class_positions


def test_classes_are_found_in_the_order_asked_for_and_others_are_named() -> None:
    assert class_positions(["a", "b", "c"], ["c", "x", "a"]) == ([2, 0], ["x"])
    assert class_positions([], ["a"]) == ([], ["a"])


def test_accents_are_the_same_in_either_form_and_what_is_hidden_is_spelt_out() -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert class_positions([composed], [decomposed, "a\tb"]) == ([0], ["a\\tb"])
