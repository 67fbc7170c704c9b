"""TrivialAugment: the same images as torchvision's own class makes, drawn evenly, and nothing else touched."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from enas.config import DataConfig
from enas.data import Augmentation, ImageSet, load, pipeline, training_batches, training_steps
from enas.data.trivial import STRENGTHS, draw_trivial, operations, trivial_augment
from tests.images import CPU, MEAN, STD, list_epoch, random_set

# In the order of ours
NAMES = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
PLAIN = Augmentation(0, False, 0)
ON = Augmentation(0, False, 0, trivial_augment=True)


def smooth(count: int, size: int, channels: int) -> Tensor:
    """Images with few and many grey levels, edges and slopes: uint8 [N, H, W, C]."""
    steps = torch.arange(size * size * channels).view(size, size, channels)
    images = torch.stack([(steps * (i + 1) // 7 + 40 * i) % 256 for i in range(count)])
    images[0, size // 2 :] //= 3
    return images.byte()


def every_choice(size: int) -> list[tuple[str, float]]:
    """(name, magnitude) of torchvision's class, for every operation, strength and direction."""
    found = []
    for name in NAMES:
        magnitudes, signed = v2.TrivialAugmentWide._AUGMENTATION_SPACE[name]
        values = magnitudes(STRENGTHS, size, size)
        for strength in range(STRENGTHS):
            value = 0.0 if values is None else float(values[strength])
            found += [(name, value), (name, -value if signed else value)]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_are_those_of_torchvisions_class(channels: int) -> None:
    """Every operation at every strength, all in one call and shuffled, against the class image by image."""
    assert set(NAMES) == set(v2.TrivialAugmentWide._AUGMENTATION_SPACE) and len(operations(32, 32)) == len(NAMES)
    choices = every_choice(32)
    images = smooth(5, 32, channels)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(choices), generator=generator)
    chosen = torch.randint(0, 5, (len(choices),), generator=generator)
    result = trivial_augment(images, chosen, order)
    twin = v2.TrivialAugmentWide()
    for image, index, row in zip(result, chosen.tolist(), order.tolist(), strict=True):
        name, value = choices[row]
        expected = twin._apply_image_or_video_transform(
            images[index].permute(2, 0, 1), name, value, interpolation=v2.InterpolationMode.NEAREST, fill={}
        )
        assert torch.equal(image, expected.permute(1, 2, 0)), (name, value)


def test_small_images_are_shifted_by_their_width_at_most() -> None:
    across, down = (operations(8, 20)[NAMES.index(name)] for name in ("TranslateX", "TranslateY"))
    assert (across.most, down.most) == (20, 8)
    assert operations(64, 64)[NAMES.index("TranslateX")].most == 32


def test_draws_are_even_and_only_those_of_the_generator() -> None:
    count = 14 * 31 * 2 * 40
    before = torch.get_rng_state()
    draws = draw_trivial(count, 32, 32, torch.Generator().manual_seed(0))
    again, other = (draw_trivial(count, 32, 32, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(draws, again) and not torch.equal(draws, other)
    trivial_augment(random_set(9, size=32).images, torch.arange(9), draws[:9])
    assert torch.equal(before, torch.get_rng_state())
    counts = (draws // (2 * STRENGTHS)).bincount()
    assert len(counts) == 14
    assert (counts - count / 14).abs().max() < 5 * math.sqrt(count / 14)  # five standard deviations
    rotations = draws[draws // 62 == 5] - 5 * 62
    assert rotations[rotations > 1].bincount()[2:].min() > 10  # of 40 expected: all strengths, both directions
    assert draws.unique().numel() == 9 * 61 + 2 * 31 + 3  # what makes no difference is drawn as one


def rows_of(seen: Tensor, images: Tensor) -> list[int]:
    """For each image seen, where it is among `images`; -1 where it is not."""
    same = (seen[:, None] == images[None]).flatten(2).all(2)
    return torch.where(same.any(1), same.int().argmax(1), -1).tolist()


@pytest.mark.parametrize("block_bytes", [1, 3000, 2**25])
def test_batches_are_changed_one_by_one(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of blocks: the images of the same epoch without it, changed, with their labels."""
    monkeypatch.setattr(pipeline, "BLOCK_BYTES", block_bytes)
    images, generator = random_set(50), torch.Generator().manual_seed(3)
    plain, varied = (
        list(training_batches(images, 8, which, (0.0,) * 3, (1 / 255,) * 3, torch.Generator().manual_seed(3)))
        for which in (PLAIN, ON)
    )
    order = torch.randperm(50, generator=generator)[:48]
    draws = draw_trivial(48, 8, 8, generator)
    expected = torch.stack([trivial_augment(images.images, order[i : i + 1], draws[i : i + 1])[0] for i in range(48)])
    assert len(varied) == len(plain) == training_steps(50, 8)
    assert torch.equal(torch.cat([x for x, _ in varied]).permute(0, 2, 3, 1), expected.float())
    assert all(torch.equal(m, n) for (_, m), (_, n) in zip(plain, varied, strict=True))
    unchanged = sum(row >= 0 for row in rows_of(expected, images.images))
    assert 1 <= unchanged < 24


def test_augmentation_follows_and_draws_stay() -> None:
    """Crop, mirror and cutout work on the changed images, and draw the same as without."""
    images = ImageSet(random_set(40).images[:1].repeat(40, 1, 1, 1), torch.arange(40) % 3)
    both = Augmentation(2, True, 3, trivial_augment=True)
    first, again = list_epoch(images, 8, 3, both), list_epoch(images, 8, 3, both)
    without = list_epoch(images, 8, 3, Augmentation(2, True, 3))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    for (x, n), (y, m) in zip(first, without, strict=True):
        assert torch.equal(n, m)
        # what was blanked by cutout and crop, exactly the mean colour, is blank in both
        assert ((y == 0).all(1) <= (x == 0).all(1)).all()
        assert not torch.equal(x, y)
        assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [None, 4, 16])
def test_digits_with_trivial_augment(size: int | None) -> None:
    data = load(DataConfig(name="digits", image_size=size, trivial_augment=True), CPU)
    assert data.augmentation.trivial_augment and not load(DataConfig(name="digits"), CPU).augmentation.trivial_augment
    batches = list(
        training_batches(data.train, 64, data.augmentation, data.mean, data.std, torch.Generator().manual_seed(0))
    )
    assert len(batches) == 18 and all(torch.isfinite(x).all() for x, _ in batches)
    # a blank image in, a blank image out: nothing invents a digit, most leave one to see
    assert torch.cat([x for x, _ in batches]).flatten(1).std(1).gt(0.1).float().mean() > 0.7


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_images_equal_cpu_images() -> None:
    images, on_gpu = random_set(40), random_set(40).to(torch.device("cuda"))
    generators = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for (a, m), (b, n) in zip(
        training_batches(images, 8, ON, MEAN, STD, generators[0]),
        training_batches(on_gpu, 8, ON, MEAN, STD, generators[1]),
        strict=True,
    ):
        # nearest-neighbour lookups and roundings may fall on the other side of a tie
        assert (a - b.cpu()).abs().gt(1e-5).float().mean() < 0.02 and torch.equal(m, n.cpu())
