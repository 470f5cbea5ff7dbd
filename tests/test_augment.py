"""Random changes to images, and the random numbers behind them."""

from __future__ import annotations

import pytest
import torch

from gan_serve.training.augment import AUGMENTATIONS, augment, flip
from gan_serve.training.config import make_config
from gan_serve.training.random_numbers import StepRandom

CPU = torch.device("cpu")
ALL = tuple(AUGMENTATIONS)


def draws(seed: int = 0, shown: int = 0, rank: int = 0, world: int = 1) -> StepRandom:
    return StepRandom(seed, shown, CPU, rank, world)


def copies(n: int, channels: int = 1, size: int = 16) -> torch.Tensor:
    """One image n times, no pixel of which is 0."""
    image = torch.rand(channels, size, size, generator=torch.Generator().manual_seed(5)) * 0.8 + 0.1
    return image.expand(n, -1, -1, -1)


# Random numbers


def test_draws_follow_from_seed_and_images_shown():
    first = draws(3, 640).normal(4, 2)
    assert torch.equal(first, draws(3, 640).normal(4, 2))
    assert not torch.equal(first, draws(4, 640).normal(4, 2))
    assert not torch.equal(first, draws(3, 641).normal(4, 2))


def test_draws_of_a_step_go_on():
    step = draws()
    assert not torch.equal(step.normal(4, 2), step.normal(4, 2))


@pytest.mark.parametrize("world", [2, 3])
def test_draws_of_several_processes_are_those_of_one(world):
    alone = draws(7, 128)
    several = [draws(7, 128, rank, world) for rank in range(world)]
    for kind, shape in [("uniform", (4,)), ("normal", (3, 2)), ("uniform", ())]:
        whole = getattr(alone, kind)(2 * world, *shape)
        assert torch.equal(whole, torch.cat([getattr(each, kind)(2, *shape) for each in several]))


def test_draws_have_the_stated_distributions():
    uniform, normal = draws().uniform(20_000), draws().normal(20_000)
    assert uniform.dtype == normal.dtype == torch.float32
    assert 0 <= uniform.min() < 0.001 < 0.999 < uniform.max() < 1
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert (normal.mean().item(), normal.std().item()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))


def test_what_networks_draw_inside_is_repeatable_and_differs_between_processes():
    def dropped(**which: int) -> torch.Tensor:
        draws(1, 64, **which)
        return torch.nn.functional.dropout(torch.ones(100))

    assert torch.equal(dropped(), dropped())
    assert not torch.equal(dropped(rank=0, world=2), dropped(rank=1, world=2))


def test_dropout_does_not_change_the_shared_numbers():
    one, other = draws(), draws()
    torch.rand(10)
    assert torch.equal(one.uniform(5), other.uniform(5))


# Every change


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize("kinds", [*((kind,) for kind in ALL), ALL, ()], ids=lambda kinds: "+".join(kinds) or "none")
def test_shape_and_type_stay(kinds, size, channels):
    images = torch.rand(6, channels, size, size) * 2 - 1
    changed = augment(images, kinds, draws())
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert changed.isfinite().all()
    assert torch.equal(changed, images) == (not kinds)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kinds", [*((kind,) for kind in ALL), ALL], ids="+".join)
def test_gradients_flow_through_each_change(kinds, channels):
    """As those of finite differences: the generator learns through the augmentation."""
    images = torch.rand(2, channels, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: augment(x, kinds, draws()), images, fast_mode=True)


@pytest.mark.parametrize("change", [flip, *AUGMENTATIONS.values()], ids=lambda change: change.__name__)
def test_a_change_follows_from_the_draws_and_differs_between_images(change):
    images = copies(32, channels=3)
    changed = change(images, draws(1, 2))
    assert torch.equal(changed, change(images, draws(1, 2)))
    assert not torch.equal(changed, change(images, draws(1, 3)))
    assert len({image.numpy().tobytes() for image in changed}) > 1


@pytest.mark.parametrize("change", [flip, *AUGMENTATIONS.values()], ids=lambda change: change.__name__)
def test_two_processes_change_their_images_as_one_does(change):
    images = torch.rand(8, 3, 16, 16)
    halves = [change(images[4 * rank : 4 * rank + 4], draws(1, 2, rank, world=2)) for rank in (0, 1)]
    torch.testing.assert_close(change(images, draws(1, 2)), torch.cat(halves), rtol=0, atol=1e-6)


def test_changes_are_made_in_the_order_given():
    images, step = copies(8), draws(2)
    by_hand = AUGMENTATIONS["translation"](AUGMENTATIONS["cutout"](images, step), step)
    assert torch.equal(augment(images, ("cutout", "translation"), draws(2)), by_hand)


def test_a_config_accepts_the_augmentations_that_exist():
    assert make_config("mlp-gan", {"data": "x", "augment": ",".join(AUGMENTATIONS)}).augment == ALL


def test_a_probability_is_the_share_of_images_that_change():
    images = copies(4000)
    changed = augment(images, ("color",), draws(1), 0.3)
    share = (changed != images).flatten(1).any(dim=1).float().mean().item()
    assert share == pytest.approx(0.3, abs=0.03)
    assert torch.equal(augment(images, ("color", "cutout"), draws(1), 0.0), images)
    assert torch.equal(augment(images, ALL, draws(1), 1.0), augment(images, ALL, draws(1)))


# Each change


def test_flip_leaves_an_image_as_it_is_or_mirrors_it():
    images = copies(2000, size=8)
    flipped = flip(images, draws())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert mirrored.float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("size", "reach"), [(8, 1), (12, 1), (16, 2), (28, 3)])
def test_translation_moves_by_up_to_an_eighth_and_lets_mid_gray_in(size, reach):
    images = copies(600, size=size)
    framed = torch.nn.functional.pad(images[0], [reach] * 4)
    expected = {
        (dy, dx): framed[:, reach + dy : reach + dy + size, reach + dx : reach + dx + size].contiguous()
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
    }
    found = {image.numpy().tobytes() for image in AUGMENTATIONS["translation"](images, draws())}
    assert found == {image.numpy().tobytes() for image in expected.values()}  # each move, and no other


def test_cutout_hides_a_square_of_half_the_size_cut_off_at_the_edges():
    images = copies(600)
    cut = AUGMENTATIONS["cutout"](images, draws())
    hidden = cut[:, 0] == 0
    assert torch.equal(cut[:, 0][~hidden], images[:, 0][~hidden])
    rows, columns = hidden.any(2), hidden.any(1)
    assert torch.equal(hidden, rows[:, :, None] & columns[:, None, :])
    for lines in (rows, columns):
        lengths = lines.sum(1)
        assert (lengths.min(), lengths.max()) == (4, 8)  # of 16; centred on an edge, half of it is seen
        starts_and_ends = torch.nn.functional.pad(lines.int(), [1, 1]).diff(dim=1).abs().sum(1)
        assert (starts_and_ends == 2).all()


def test_cutout_hides_all_channels_alike():
    hidden = AUGMENTATIONS["cutout"](copies(50, channels=3), draws()) == 0
    assert torch.equal(hidden.any(1), hidden.all(1))


def test_color_shifts_the_mean_by_at_most_half_and_scales_the_rest():
    """Brightness is the mean's shift; the pattern around the mean keeps its form under contrast, 0.5 to 1.5."""
    images = copies(500)
    changed = AUGMENTATIONS["color"](images, draws())
    shift = changed.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert -0.5 <= shift.min() < -0.48 < 0.48 < shift.max() <= 0.5
    around, before = changed - changed.mean((1, 2, 3), keepdim=True), images - images.mean((1, 2, 3), keepdim=True)
    contrast = around.flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    assert 0.5 - 1e-5 <= contrast.min() < 0.52 < 1.48 < contrast.max() <= 1.5 + 1e-5
    torch.testing.assert_close(around, before * contrast.view(-1, 1, 1, 1), rtol=0, atol=1e-5)


def test_color_scales_the_saturation_by_0_to_2():
    images = copies(500, channels=3)
    changed = AUGMENTATIONS["color"](images, draws())

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gray = x.mean(1, keepdim=True)
        return (x - gray).flatten(1).norm(dim=1), (gray - gray.mean((2, 3), keepdim=True)).flatten(1).norm(dim=1)

    (chroma, light), (chroma_before, light_before) = parts(changed), parts(images)
    saturation = (chroma / chroma_before) / (light / light_before)
    assert 0 <= saturation.min() < 0.05 < 1.95 < saturation.max() <= 2 + 1e-4


def test_color_leaves_gray_pixels_gray():
    changed = AUGMENTATIONS["color"](copies(50).expand(-1, 3, -1, -1), draws())
    torch.testing.assert_close(changed, changed[:, :1].expand(-1, 3, -1, -1), rtol=0, atol=1e-6)
