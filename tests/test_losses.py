"""The adversarial losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gan_serve.errors import InvalidOption
from gan_serve.training import losses
from gan_serve.training.config import make_config
from gan_serve.training.losses import LOSSES, Targets

LN2 = math.log(2)


def hard_targets(n: int) -> Targets:
    return losses.soft_targets(torch.rand(n, 4))


def generator_side(name: str, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    loss = LOSSES[name]
    return loss.generator(fake, real) if loss.relativistic else loss.generator(fake)


def gradient(loss, logits: list[float]) -> list[float]:
    """The derivative of a loss by each logit."""
    inputs = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(loss(inputs), inputs)
    return slopes.tolist()


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


# Every loss


@pytest.mark.parametrize("name", LOSSES)
def test_both_sides_are_finite_scalars_however_sure_the_discriminator_is(name):
    loss = LOSSES[name]
    for size in (0.0, 1.0, 50.0, 1e4, -1e4):
        logits = torch.full((6,), size, requires_grad=True)
        total = loss.discriminator(logits, -logits, hard_targets(6)) + generator_side(name, -logits, logits)
        assert total.shape == ()
        (slopes,) = torch.autograd.grad(total, logits)
        assert total.isfinite()
        assert slopes.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_each_side_falls_as_it_wins(name):
    """The discriminator by telling the two apart; the generator by scores on the real side."""
    loss = LOSSES[name]
    half = torch.full((4,), 0.5)
    lost, won = [loss.discriminator(0.5 + d, 0.5 - d, hard_targets(4)) for d in (-0.4 * half, 0.4 * half)]
    assert won < lost
    zero = torch.zeros(4)
    assert generator_side(name, 0.9 * half, zero) < generator_side(name, -0.9 * half, zero)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].has_targets])
def test_a_loss_with_targets_follows_them(name):
    logits = torch.linspace(0, 4, 8)
    hard = LOSSES[name].discriminator(logits, -logits, Targets(torch.ones(8), torch.zeros(8)))
    soft = LOSSES[name].discriminator(logits, -logits, Targets(torch.full((8,), 0.9), torch.zeros(8)))
    assert abs(hard - soft) > 0.005


@pytest.mark.parametrize("name", [name for name in LOSSES if not LOSSES[name].has_targets])
def test_a_loss_without_targets_ignores_them(name):
    logits = torch.linspace(-2, 2, 8)
    values = {
        LOSSES[name].discriminator(logits, -logits, Targets(torch.full((8,), t), torch.zeros(8))).item()
        for t in (1.0, 0.5)
    }
    assert len(values) == 1


def test_a_config_accepts_the_losses_that_exist_and_no_other():
    for name in LOSSES:
        assert make_config("mlp-gan", {"data": "x", "loss": name}).loss == name
    with pytest.raises(InvalidOption, match="non-saturating"):
        make_config("mlp-gan", {"data": "x", "loss": "hing"})


# Binary cross-entropy


def test_the_discriminator_that_cannot_tell_loses_ln_2_on_each_half():
    zero, never = torch.zeros(5), torch.full((5,), -1e4)
    assert losses.discriminator_bce(zero, zero, hard_targets(5)).item() == pytest.approx(LN2)  # the mean of the halves
    assert losses.discriminator_bce(zero, never, hard_targets(5)).item() == pytest.approx(LN2 / 2)
    assert losses.discriminator_bce(-never, zero, hard_targets(5)).item() == pytest.approx(LN2 / 2)


def test_the_value_where_the_discriminator_cannot_tell_is_minus_log_4():
    zero = torch.zeros(5)
    assert losses.value(zero, zero).item() == pytest.approx(-math.log(4))
    assert -losses.value(zero, zero).item() == pytest.approx(2 * LN2)  # the sum of the discriminator's two halves


def test_the_value_is_minus_twice_the_loss_at_any_logits():
    real, fake = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hard = Targets(torch.ones_like(real), torch.zeros_like(fake))
    by_hand = torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean()
    assert losses.value(real, fake).item() == pytest.approx(by_hand.item())
    assert losses.discriminator_bce(real, fake, hard).item() == pytest.approx(-by_hand.item() / 2)


def test_the_value_of_a_perfect_discriminator_is_0():
    sure = torch.full((5,), 100.0)
    assert losses.value(sure, -sure).item() == pytest.approx(0)
    assert losses.discriminator_bce(sure, -sure, hard_targets(5)).item() == pytest.approx(0)


def test_with_soft_targets_the_best_logit_is_their_log_odds():
    target = Targets(torch.tensor([0.9], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64))
    zero = torch.zeros(1, dtype=torch.float64)
    by_real = gradient(lambda x: losses.discriminator_bce(x, zero, target), [math.log(0.9 / 0.1)])
    by_fake = gradient(lambda x: losses.discriminator_bce(zero, x, target), [math.log(0.2 / 0.8)])
    assert by_real + by_fake == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("logit", [-40.0, -16.0, -2.0, 0.0, 2.0, 16.0, 40.0])
@pytest.mark.parametrize("target", [-0.05, 0.3, 1.6])
def test_clipped_probabilities_give_the_cross_entropy_of_keras(logit, target):
    """-(t log p + (1 - t) log(1 - p)) with p in [1e-7, 1 - 1e-7], and its gradient."""

    def ours(x: torch.Tensor) -> torch.Tensor:
        clipped = losses.clip_probabilities(x, 1e-7)
        targets = torch.full_like(x, target)
        return losses.discriminator_bce(clipped, clipped, Targets(targets, targets))

    def keras(x: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(x).clamp(1e-7, 1 - 1e-7)
        return -(target * torch.log(p) + (1 - target) * torch.log(1 - p)).mean()

    x = torch.tensor([logit], dtype=torch.float64)
    torch.testing.assert_close(ours(x), keras(x), rtol=1e-6, atol=1e-9)
    assert gradient(ours, [logit]) == pytest.approx(gradient(keras, [logit]), rel=1e-5, abs=1e-9)


def test_generators_at_equilibrium():
    zero = torch.zeros(5)
    assert losses.generator_non_saturating(zero).item() == pytest.approx(LN2)
    assert losses.generator_saturating(zero).item() == pytest.approx(-LN2)


@pytest.mark.parametrize("logit", [-20.0, -3.0, 0.0, 2.0])
def test_gradients_of_both_generators_are_the_sigmoids(logit):
    """d/dD of -log σ(D) is -(1 - σ(D)), which stays where D wins; of log(1 - σ(D)) it is -σ(D), which vanishes."""
    two = [logit, logit]
    assert gradient(losses.generator_non_saturating, two) == pytest.approx([-(1 - sigmoid(logit)) / 2] * 2)
    assert gradient(losses.generator_saturating, two) == pytest.approx([-sigmoid(logit) / 2] * 2)


def test_against_a_sure_discriminator_only_the_non_saturating_generator_learns():
    sure = [-20.0] * 4
    assert sum(gradient(losses.generator_non_saturating, sure)) == pytest.approx(-1, abs=1e-8)
    assert sum(gradient(losses.generator_saturating, sure)) == pytest.approx(0, abs=1e-8)


# Least squares


def test_lsgan_is_half_the_squared_distance_from_the_targets():
    hard = hard_targets(2)
    assert losses.discriminator_lsgan(torch.ones(2), torch.zeros(2), hard).item() == 0
    assert losses.discriminator_lsgan(torch.full((2,), 0.5), torch.full((2,), 0.5), hard).item() == pytest.approx(0.25)
    assert losses.discriminator_lsgan(torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 0.0]), hard).item() == 1.25
    assert losses.generator_lsgan(torch.tensor([0.0, 3.0])).item() == 1.25
    assert gradient(losses.generator_lsgan, [0.0, 3.0]) == [-0.5, 1.0]  # beyond the target it is drawn back


# Hinge


@pytest.mark.parametrize(
    ("real", "fake", "loss"),
    [(0, 0, 2.0), (1, -1, 0.0), (-1, 1, 4.0), (5, -5, 0.0), (1, 0, 1.0), (0, -1, 1.0), (0.5, -0.25, 1.25)],
)
def test_hinge_at_its_corners(real, fake, loss):
    real, fake = torch.full((3,), float(real)), torch.full((3,), float(fake))
    assert losses.discriminator_hinge(real, fake, hard_targets(3)).item() == loss


def test_beyond_its_corners_hinge_has_no_gradient():
    """Real logits matter below 1, generated ones above -1; at the corner itself nothing pushes on."""
    zero = torch.zeros(5, dtype=torch.float64)
    by_real = gradient(lambda x: losses.discriminator_hinge(x, zero, hard_targets(5)), [-2, 0, 0.99, 1, 3])
    by_fake = gradient(lambda x: losses.discriminator_hinge(zero, x, hard_targets(5)), [2, 0, -0.99, -1, -3])
    assert by_real == pytest.approx([-0.2, -0.2, -0.2, 0, 0])
    assert by_fake == pytest.approx([0.2, 0.2, 0.2, 0, 0])


def test_the_hinge_generator_has_no_corner():
    assert gradient(losses.LOSSES["hinge"].generator, [-9.0, 0.0, 9.0, 1.0]) == [-0.25] * 4


# Wasserstein


def test_wasserstein_is_the_difference_of_the_mean_scores():
    real, fake = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 0.0])
    assert losses.critic_wasserstein(real, fake, hard_targets(2)).item() == -2.5
    assert losses.critic_wasserstein(real + 100, fake + 100, hard_targets(2)).item() == -2.5
    assert losses.generator_by_score(fake).item() == 0.5


def test_losses_of_differences_have_no_boundary_and_all_others_one():
    assert [name for name, loss in LOSSES.items() if loss.boundary is None] == ["wasserstein", "relativistic"]


# Relativistic


def test_relativistic_is_the_cross_entropy_of_the_difference_of_a_pair():
    real, fake = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 1.0, 0.5])
    expected = F.binary_cross_entropy_with_logits(real - fake, torch.ones(3))
    assert losses.discriminator_relativistic(real, fake, hard_targets(3)).item() == pytest.approx(expected.item())
    assert losses.generator_relativistic(fake, real).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(fake - real, torch.ones(3)).item()
    )


def test_a_relativistic_discriminator_that_cannot_tell_loses_ln_2_wherever_its_zero_is():
    for zero in (-40.0, 0.0, 7.0):
        logits = torch.full((5,), zero)
        assert losses.discriminator_relativistic(logits, logits, hard_targets(5)).item() == pytest.approx(LN2)
        assert losses.generator_relativistic(logits, logits).item() == pytest.approx(LN2)


def test_both_gradients_of_a_relativistic_loss_are_the_sigmoid_of_the_pairs_difference():
    real = torch.tensor([2.0, -1.0], dtype=torch.float64)
    by_fake = gradient(lambda fake: losses.discriminator_relativistic(real, fake, hard_targets(2)), [0.5, 0.5])
    assert by_fake == pytest.approx([sigmoid(-1.5) / 2, sigmoid(1.5) / 2])
    by_generator = gradient(lambda fake: losses.generator_relativistic(fake, real), [0.5, 0.5])
    assert by_generator == pytest.approx([-sigmoid(1.5) / 2, -sigmoid(-1.5) / 2])


# Targets


def test_without_options_targets_are_one_and_zero():
    real, fake = hard_targets(100)
    assert (real.unique().tolist(), fake.unique().tolist()) == ([1.0], [0.0])
    assert real.dtype == fake.dtype == torch.float32


def test_smoothing_is_one_sided():
    real, fake = losses.soft_targets(torch.rand(100, 4), smoothing=0.1)
    assert real.unique().tolist() == pytest.approx([0.9])
    assert fake.unique().tolist() == [0.0]


def test_noise_moves_each_target_by_up_to_its_size():
    uniform = torch.rand(2000, 4, generator=torch.Generator().manual_seed(0))
    real, fake = losses.soft_targets(uniform, noise=0.1)
    assert 0.9 <= real.min() < 0.901 < 0.999 < real.max() <= 1
    assert 0 <= fake.min() < 0.001 < 0.099 < fake.max() <= 0.1
    assert real.mean().item() == pytest.approx(0.95, abs=0.002)
    assert abs(torch.corrcoef(torch.stack([real, fake]))[0, 1].item()) < 0.1  # anew for each


def test_smoothing_and_noise_add_up():
    real, fake = losses.soft_targets(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), smoothing=0.1, noise=0.2)
    assert (real.item(), fake.item()) == (pytest.approx(0.8), pytest.approx(0.1))


def test_flips_swap_the_stated_share():
    uniform = torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0))
    real, fake = losses.soft_targets(uniform, smoothing=0.1, flip=0.05)
    assert sorted(real.unique().tolist()) == pytest.approx([0.0, 0.9])
    assert sorted(fake.unique().tolist()) == pytest.approx([0.0, 0.9])
    assert (real == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)
    assert (fake != 0).float().mean().item() == pytest.approx(0.05, abs=0.005)


def test_targets_follow_from_the_numbers_given():
    """So that a resumed run, or two processes, see the same ones."""
    uniform = torch.rand(50, 4)
    options = {"smoothing": 0.1, "noise": 0.1, "flip": 0.2}
    whole = losses.soft_targets(uniform, **options)
    halves = [losses.soft_targets(part, **options) for part in uniform.chunk(2)]
    assert torch.equal(whole.real, torch.cat([half.real for half in halves]))
    assert torch.equal(whole.fake, torch.cat([half.fake for half in halves]))
