"""Splits and image sets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from enas.data import ImageSet, split
from enas.errors import UserError
from tests.images import as_bytes, random_set


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    fraction=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**31 - 1),
)
def test_split_is_stratified_disjoint_and_complete(counts: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    numbers = torch.arange(len(labels), dtype=torch.int32).view(torch.uint8).view(-1, 1, 1, 4)  # each image is unique
    whole = ImageSet(numbers, labels)
    rest, held_out = split(whole, fraction, seed)
    for label, count in enumerate(counts):
        expected = min(max(round(count * fraction), 1), count - 1)
        assert (held_out.labels == label).sum() == expected
        assert (rest.labels == label).sum() == count - expected
    assert sorted(as_bytes(rest) + as_bytes(held_out)) == as_bytes(whole)
    again_rest, again_held_out = split(whole, fraction, seed)
    assert torch.equal(again_rest.images, rest.images) and torch.equal(again_held_out.images, held_out.images)


def test_split_depends_on_the_seed_and_mixes_the_classes() -> None:
    whole = ImageSet(random_set(100).images, torch.arange(100) // 50)
    rest, held_out = split(whole, 0.5, 0)
    assert as_bytes(held_out) != as_bytes(split(whole, 0.5, 1)[1])
    for part in (rest, held_out):
        assert 5 < part.labels[:25].sum() < 20


def test_split_needs_two_images_of_a_class() -> None:
    lonely = ImageSet(random_set(5).images, torch.tensor([0, 0, 1, 2, 2]))
    with pytest.raises(UserError, match="class 1 has 1"):
        split(lonely, 0.5, 0)
    with pytest.raises(UserError, match="class 'dog' has 1"):
        split(lonely, 0.5, 0, classes=("cat", "dog", "cow"))


def test_image_set_checks_its_shapes() -> None:
    with pytest.raises(ValueError, match="images must be uint8"):
        ImageSet(torch.zeros(2, 4, 4, 3), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels must be int64 \[2\]"):
        ImageSet(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))
