import numpy as np

from mlpmixer.data.sources.digits import open_digits


def test_digits_are_rgb_of_the_full_range_in_ten_classes() -> None:
    digits = open_digits()
    assert digits.class_names == tuple("0123456789")
    train = digits.splits["train"]
    images = np.stack([train.encoded(index) for index in range(len(train))])
    assert images.shape == (1437, 8, 8, 3)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert (images[..., 0] == images[..., 2]).all()


def test_test_split_is_a_stratified_fifth_and_always_the_same() -> None:
    train, test = (open_digits().splits[name] for name in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert np.bincount(test.labels).min() >= 34
    again = open_digits().splits["test"]
    assert all((again.encoded(i) == test.encoded(i)).all() for i in range(len(test)))


def test_no_image_is_in_both_splits() -> None:
    train, test = (open_digits().splits[name] for name in ("train", "test"))
    seen = {train.encoded(index).tobytes() for index in range(len(train))}
    assert not any(test.encoded(index).tobytes() in seen for index in range(len(test)))
