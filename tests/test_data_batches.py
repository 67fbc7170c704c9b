"""Batches, augmented and not, against a plain twin."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from enas.config import DataConfig
from enas.data import (
    Augmentation,
    augment,
    draw_augmentation,
    evaluation_batches,
    load,
    normalise,
    random_batch,
    training_batches,
    training_steps,
)
from tests.images import CPU, MEAN, STD, list_epoch, load_folder, make_folder, random_set


def augment_one(image: Tensor, draw: list[int], augmentation: Augmentation) -> Tensor:
    """The plain twin: normalise, pad with zeros, crop, mirror, blank a square. uint8 [H, W, C] -> [C, H, W]."""
    down, right, mirrored, cut_row, cut_column = draw
    height, width, channels = image.shape
    p = augmentation.crop_padding
    padded = torch.zeros(channels, height + 2 * p, width + 2 * p)
    mean, std = torch.tensor(MEAN[:channels]), torch.tensor(STD[:channels])
    padded[:, p : p + height, p : p + width] = (image.permute(2, 0, 1) / 255 - mean[:, None, None]) / std[:, None, None]
    result = padded[:, p + down : p + down + height, p + right : p + right + width].clone()
    if mirrored:
        result = result.flip(2)
    if augmentation.cutout:
        top, left = cut_row - augmentation.cutout // 2, cut_column - augmentation.cutout // 2
        result[:, max(top, 0) : top + augmentation.cutout, max(left, 0) : left + augmentation.cutout] = 0
    return result


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    channels=st.sampled_from([1, 3]),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    cutout=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_augment_matches_one_by_one(
    height: int, width: int, channels: int, padding: int, flip: bool, cutout: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (7, height, width, channels), generator=generator, dtype=torch.uint8)
    augmentation = Augmentation(padding, flip, cutout)
    chosen = torch.randint(0, 7, (20,), generator=generator)
    draws = draw_augmentation(20, height, width, augmentation, generator)
    fast = augment(images, chosen, draws, augmentation, MEAN[:channels], STD[:channels])
    plain = torch.stack(
        [augment_one(images[i], d, augmentation) for i, d in zip(chosen, draws.T.tolist(), strict=True)]
    )
    # same formula, other order of the divisions: a few ulp of values up to 2
    torch.testing.assert_close(fast, plain, rtol=0, atol=2e-6)
    assert torch.equal(fast == 0, plain == 0)  # blanks are exactly the mean, and only they
    assert fast.dtype == torch.float32 and fast.is_contiguous(memory_format=torch.channels_last)


def test_draws_cover_their_ranges_evenly() -> None:
    draws = draw_augmentation(20_000, 8, 6, Augmentation(2, True, 3), torch.Generator().manual_seed(0))
    for row, low, high in zip(draws, (-2, -2, 0, 0, 0), (2, 2, 1, 7, 5), strict=True):
        counts = (row - low).bincount(minlength=high - low + 1)
        expected = 20_000 / (high - low + 1)
        assert len(counts) == high - low + 1
        assert (counts - expected).abs().max() < 5 * math.sqrt(expected)  # five standard deviations
    assert not draw_augmentation(9, 8, 8, Augmentation(0, False, 0), torch.Generator()).any()


def test_normalise() -> None:
    images = random_set(3).images
    result = normalise(images, MEAN, STD)
    expected = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=2e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalised_digits_have_mean_0_and_deviation_1() -> None:
    data = load(DataConfig(name="digits"), CPU)
    result = normalise(data.train.images, data.mean, data.std)
    assert abs(result.mean().item()) < 1e-5 and abs(result.std().item() - 1) < 1e-3


def test_constant_channel_does_not_divide_by_zero(tmp_path: Path) -> None:
    data = load_folder(make_folder(tmp_path / "i", {"a": 2, "b": 2}, image=lambda _: Image.new("RGB", (8, 8))))
    assert normalise(data.train.images, data.mean, data.std).eq(0).all()


def test_training_batches_are_one_shuffled_epoch() -> None:
    images = random_set(50)
    batches = list_epoch(images, 8, 0, Augmentation(0, False, 0))
    assert len(batches) == training_steps(50, 8) == 6
    assert all(x.shape == (8, 3, 8, 8) and y.shape == (8,) for x, y in batches)
    seen = torch.cat([x for x, _ in batches])
    matches = (seen[:, None] == normalise(images.images, MEAN, STD)[None]).flatten(2).all(2)  # [48, 50]
    rows = matches.int().argmax(1)
    assert matches.sum(1).eq(1).all() and len(set(rows.tolist())) == 48  # no image twice
    assert torch.equal(images.labels[rows], torch.cat([y for _, y in batches]))
    assert rows.tolist() != sorted(rows.tolist())


def test_set_smaller_than_a_batch_is_one_batch() -> None:
    ((x, y),) = list_epoch(random_set(5), 8, 0, Augmentation(1, True, 2))
    assert x.shape == (5, 3, 8, 8) and y.shape == (5,) and training_steps(5, 8) == 1


@pytest.mark.parametrize("augmentation", [Augmentation(2, True, 3), Augmentation(0, False, 0)])
def test_same_generator_state_gives_the_same_batches(augmentation: Augmentation) -> None:
    images = random_set(40)
    first, again = list_epoch(images, 8, 3, augmentation), list_epoch(images, 8, 3, augmentation)
    assert all(torch.equal(a, b) and torch.equal(m, n) for (a, m), (b, n) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], list_epoch(images, 8, 4, augmentation)[0][0])
    # all draws are made by the call: what is drawn between two batches does not matter
    generator = torch.Generator().manual_seed(3)
    batches = training_batches(images, 8, augmentation, MEAN, STD, generator)
    torch.randn(3, generator=generator)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, batches, strict=True))


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 60), batch_size=st.integers(1, 70))
def test_evaluation_batches_are_in_order_and_nearly_equal(count: int, batch_size: int) -> None:
    images = random_set(count, size=4)
    batches = list(evaluation_batches(images, batch_size, MEAN, STD))
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == math.ceil(count / batch_size)
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([y for _, y in batches]), images.labels)
    assert torch.equal(torch.cat([x for x, _ in batches]), normalise(images.images, MEAN, STD))


def test_random_batch_has_no_image_twice() -> None:
    images = random_set(20)
    everything = normalise(images.images, MEAN, STD)
    for batch_size in (7, 20, 99):
        x, y = random_batch(images, batch_size, MEAN, STD, torch.Generator().manual_seed(0))
        matches = (x[:, None] == everything[None]).flatten(2).all(2)
        rows = matches.int().argmax(1)
        assert len(set(rows.tolist())) == len(x) == min(batch_size, 20)
        assert torch.equal(y, images.labels[rows]) and matches.sum(1).eq(1).all()
        again, _ = random_batch(images, batch_size, MEAN, STD, torch.Generator().manual_seed(0))
        assert torch.equal(x, again)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_batches_equal_cpu_batches_and_never_synchronise() -> None:
    images, augmentation = random_set(40), Augmentation(2, True, 3)
    on_gpu = images.to(torch.device("cuda"))
    expected = list_epoch(images, 8, 3, augmentation)
    list_epoch(on_gpu, 8, 3, augmentation)  # makes the constants
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list_epoch(on_gpu, 8, 3, augmentation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (a, m), (b, n) in zip(expected, batches, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=2e-6)
        assert torch.equal(m, n.cpu())
