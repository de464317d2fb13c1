"""Grouping by class, against a search for each class."""

import numpy as np

from mlpmixer.data.by_class import indices_by_class


def test_groups_are_those_that_a_search_for_each_class_finds() -> None:
    labels = np.random.default_rng(0).choice([-1, 0, 3, 5, 70_001], 200)
    found = dict(indices_by_class(labels))
    assert list(found) == np.unique(labels).tolist()
    for label, indices in found.items():
        np.testing.assert_array_equal(indices, np.flatnonzero(labels == label))


def test_no_images_are_no_classes() -> None:
    assert list(indices_by_class(np.empty(0, dtype=np.int64))) == []
