"""Confusions by the pairs that occur, against the whole matrix."""

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mlpmixer.json_text import json_text
from mlpmixer.measures.confusion import MOST_AS_MATRIX, Confusion


@pytest.mark.parametrize("classes", [2, 7, MOST_AS_MATRIX + 1])
def test_counts_equal_those_of_scikit_learn(classes: int) -> None:
    random = np.random.default_rng(0)
    true, predicted = random.integers(0, classes, (2, 500))
    expected = confusion_matrix(true, predicted, labels=np.arange(classes))
    found = Confusion.count(true, predicted, classes)
    np.testing.assert_array_equal(found.matrix(), expected)
    np.testing.assert_array_equal(found.correct, expected.diagonal())
    np.testing.assert_array_equal(found.total, expected.sum(axis=1))
    again = Confusion.from_matrix(expected)
    np.testing.assert_array_equal(again.matrix(), expected)
    read = Confusion.from_json(json.loads(json_text(found.to_json())))
    np.testing.assert_array_equal(read.matrix(), expected)


def test_the_most_confused_pairs_come_first_and_right_answers_never() -> None:
    confusion = Confusion.from_matrix([[50, 3, 0], [7, 60, 3], [0, 0, 10]])
    pairs = confusion.most_confused(10)
    assert [(pair.true, pair.predicted, pair.count) for pair in pairs] == [
        (1, 0, 7),
        (0, 1, 3),
        (1, 2, 3),
    ]
    assert pairs[0].share == pytest.approx(0.1)
    assert confusion.most_confused(1) == pairs[:1]


def test_few_classes_are_written_as_a_matrix_and_many_as_pairs() -> None:
    assert Confusion.count([0, 1], [0, 0], 2).to_json() == [[1, 0], [1, 0]]
    assert Confusion.count([2, 2, 70_000], [1, 1, 70_000], 70_001).to_json() == {
        "classes": 70_001,
        "true": [2, 70_000],
        "predicted": [1, 70_000],
        "count": [2, 1],
    }
