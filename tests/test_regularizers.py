"""Penalties against closed forms, mostly of a linear critic D(x) = w·x, whose gradient is w everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gan_serve.training.losses import LOSSES, soft_targets
from gan_serve.training.networks import build_discriminator
from gan_serve.training.networks.layers import normalise_spectrally
from gan_serve.training.regularizers import (
    clip_weights,
    drift_penalty,
    feature_matching,
    finite_difference_penalty,
    gradient_penalty,
    mode_seeking,
    zero_centred_penalty,
)

SHAPE = (4, 2, 3, 5)  # N, C, H, W


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or SHAPE), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def linear_critic(norm: float) -> nn.Sequential:
    """w·x + 3 with ||w||₂ as given."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(30, 1), nn.Flatten(0)).double()
    weight = images(9, 1, 30)
    critic[1].weight.data = norm * weight / weight.norm()
    critic[1].bias.data.fill_(3.0)
    return critic


# Gradient penalty


@pytest.mark.parametrize("norm", [0.0, 0.25, 1.0, 1.5, 7.0])
def test_gradient_penalty_of_a_linear_critic_is_its_norms_distance_from_1(norm):
    penalty = gradient_penalty(linear_critic(norm), images(1), images(2), torch.rand(4, dtype=torch.float64))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-12)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_gradient_penalty_is_taken_between_the_pair(mix):
    """D(x) = ||x||²/2 has the gradient x: the penalty shows where it was taken."""
    real, fake = images(1), images(2)
    penalty = gradient_penalty(lambda x: x.flatten(1).square().sum(1) / 2, real, fake, torch.full((4,), mix).double())
    norms = np.linalg.norm((mix * real + (1 - mix) * fake).numpy().reshape(4, -1), axis=1)
    assert penalty.item() == pytest.approx(((norms - 1) ** 2).mean())


def test_each_pair_is_mixed_by_its_own_number():
    real, fake, mix = images(1), images(2), torch.tensor([0.0, 1.0, 0.5, 0.2], dtype=torch.float64)
    seen = []
    gradient_penalty(lambda x: seen.append(x.detach()) or x.flatten(1).sum(1), real, fake, mix)
    expected = [fake[0], real[1], (real[2] + fake[2]) / 2, 0.2 * real[3] + 0.8 * fake[3]]
    torch.testing.assert_close(seen[0], torch.stack(expected))


def test_labels_bound_to_the_critic_condition_the_penalty():
    weights, c = images(5, 3, 30), torch.tensor([2, 0, 0, 1])
    penalty = gradient_penalty(lambda x: (x.flatten(1) * weights[c]).sum(1), images(1), images(2), torch.rand(4))
    norms = np.linalg.norm(weights.numpy(), axis=1)[c.numpy()]
    assert penalty.item() == pytest.approx(((norms - 1) ** 2).mean())


@pytest.mark.parametrize("conditioning", ["planes", "projection"])
def test_the_penalty_of_a_conditional_critic_depends_on_the_labels(conditioning):
    torch.manual_seed(0)
    critic = build_discriminator(
        "dcgan", img_resolution=8, img_channels=1, c_dim=3, conditioning=conditioning, d_norm="layer", width=0.2
    )
    real, fake, mix = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8), torch.rand(4)
    first, second = (
        gradient_penalty(lambda x, c=c: critic(x, torch.full((4,), c)), real, fake, mix).item() for c in (0, 1)
    )
    assert abs(first - second) > 1e-6


def test_the_penalty_moves_the_critics_weights_by_its_closed_form():
    """d/dw (||w|| - 1)² = 2 (||w|| - 1) w / ||w||: it takes second derivatives of the critic."""
    critic = linear_critic(1.5)
    gradient_penalty(critic, images(1), images(2), torch.rand(4)).backward()
    torch.testing.assert_close(critic[1].weight.grad, 2 * 0.5 * critic[1].weight.detach() / 1.5)


def test_a_critic_without_any_gradient_has_a_finite_one_of_its_penalty():
    critic = linear_critic(0.0)
    gradient_penalty(critic, images(1), images(2), torch.rand(4)).backward()
    assert critic[1].weight.grad.isfinite().all()


def test_penalties_leave_the_images_and_their_graph_alone():
    real, fake = images(1).requires_grad_(), images(2).requires_grad_()
    critic = linear_critic(2.0)
    (gradient_penalty(critic, real, fake * 2, torch.rand(4)) + zero_centred_penalty(critic, real)).backward()
    assert real.grad is None
    assert fake.grad is None


def test_a_penalty_on_a_deep_critic_agrees_with_finite_differences():
    torch.manual_seed(0)
    critic = build_discriminator("dcgan", img_resolution=8, img_channels=1, d_norm="layer", width=0.1).double()
    real = images(1, 3, 1, 8, 8)
    steps = 1e-6 * torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    with torch.no_grad():
        slopes = torch.stack([(critic(image + steps) - critic(image - steps)) / 2e-6 for image in real])
    norms = slopes.norm(dim=1)
    ones = torch.ones(3, dtype=torch.float64)
    assert gradient_penalty(critic, real, real, ones).item() == pytest.approx(
        ((norms - 1) ** 2).mean().item(), rel=1e-5
    )
    assert zero_centred_penalty(critic, real).item() == pytest.approx(norms.square().mean().item() / 2, rel=1e-5)


@pytest.mark.parametrize("gp_weight", [1.0, 10.0])
def test_a_linear_critic_settles_where_distance_and_penalty_balance(gp_weight):
    """Min of -(w·d) + λ (w - 1)² over slopes along d, the difference of the means: w = 1 + ||d|| / (2 λ)."""
    critic = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Flatten(0))
    critic[1].weight.data.fill_(0.1)
    real, fake = torch.full((8, 1, 1, 1), 2.0), torch.zeros(8, 1, 1, 1)
    optimizer = torch.optim.SGD(critic.parameters(), 0.2 / gp_weight)
    for _ in range(60):
        optimizer.zero_grad()
        loss = LOSSES["wasserstein"].discriminator(critic(real), critic(fake), soft_targets(torch.rand(8, 4)))
        (loss + gp_weight * gradient_penalty(critic, real, fake, torch.rand(8))).backward()
        optimizer.step()
    assert critic[1].weight.item() == pytest.approx(1 + 2 / (2 * gp_weight), rel=1e-4)


# R1


@pytest.mark.parametrize("norm", [0.0, 0.5, 3.0])
def test_r1_of_a_linear_critic_is_half_its_squared_norm(norm):
    assert zero_centred_penalty(linear_critic(norm), images(1)).item() == pytest.approx(norm**2 / 2)


def test_r1_draws_the_critic_flat_by_its_closed_form():
    critic = linear_critic(3.0)
    zero_centred_penalty(critic, images(1)).backward()
    torch.testing.assert_close(critic[1].weight.grad, critic[1].weight.detach())  # d/dw ||w||²/2 = w


# Clipping


def test_clipping_bounds_every_weight_in_place():
    critic = build_discriminator("dcgan", img_resolution=8, img_channels=1, width=0.1)
    before = {name: (weight, weight.detach().clone()) for name, weight in critic.named_parameters()}
    clip_weights(critic.parameters(), 0.01)
    for name, weight in critic.named_parameters():
        kept, old = before[name]
        assert weight is kept, name
        assert torch.equal(weight.detach(), old.clamp(-0.01, 0.01)), name
        assert weight.requires_grad
    assert max(weight.abs().max().item() for weight in critic.parameters()) == pytest.approx(0.01)


# Feature matching


def test_feature_matching_compares_the_means_alone():
    real = torch.tensor([[0.0, 4.0], [2.0, 0.0]])  # mean 1, 2
    assert feature_matching(real, torch.tensor([[1.0, 2.0]] * 3)).item() == 0
    assert feature_matching(real, torch.tensor([[1.0, 5.0], [1.0, 5.0]])).item() == 4.5  # (0² + 3²) / 2


def test_feature_matching_does_not_grow_with_the_number_of_features():
    real, fake = torch.zeros(4, 10), torch.ones(4, 10)
    assert feature_matching(real, fake) == feature_matching(real.repeat(1, 7), fake.repeat(1, 7)) == 1


# Mode seeking


def test_mode_seeking_is_the_ratio_of_the_distances():
    z_1, z_2 = torch.zeros(2, 4), torch.full((2, 4), 0.5)
    images_1, images_2 = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.25)
    assert mode_seeking(images_1, images_2, z_1, z_2).item() == pytest.approx(1 / (0.25 / 0.5 + 1e-5))
    assert mode_seeking(images_1, images_2, z_1, z_2, eps=0.5).item() == pytest.approx(1)


def test_mode_seeking_grows_as_images_collapse_and_stays_finite():
    z_1, z_2 = images(1, 8, 3), images(2, 8, 3)
    images_1, images_2 = images(3, 8, 1, 4, 4), images(4, 8, 1, 4, 4)
    middle = (images_1 + images_2) / 2
    values = [
        mode_seeking(middle + spread * (images_1 - middle), middle + spread * (images_2 - middle), z_1, z_2).item()
        for spread in (1, 0.5, 0.1, 0)
    ]
    assert values == sorted(values)
    assert values[1] == pytest.approx(2 * values[0], rel=1e-4)
    assert values[-1] == pytest.approx(1e5)


def test_the_gradient_of_mode_seeking_drives_two_images_apart():
    pair = torch.tensor([0.1, -0.1]).view(2, 1, 1, 1).requires_grad_()
    mode_seeking(pair[:1], pair[1:], torch.zeros(1, 1), torch.ones(1, 1)).backward()
    assert pair.grad[0] < 0 < pair.grad[1]  # descent moves against it


# Spectral normalisation


def _matrices(network: nn.Module) -> dict[str, np.ndarray]:
    """The weights in effect, each as a matrix [out, the rest]."""
    layers = (nn.Linear, nn.Conv2d, nn.Embedding)
    return {
        name: layer.weight.detach().flatten(1).numpy()
        for name, layer in network.named_modules()
        if isinstance(layer, layers)
    }


def test_spectral_normalisation_agrees_with_numpys_svd():
    torch.manual_seed(0)
    critic = build_discriminator(
        "dcgan", img_resolution=32, img_channels=3, c_dim=5, conditioning="projection", d_norm="none", width=0.125
    )
    plain = _matrices(critic)
    normalise_spectrally(critic)
    for _ in range(30):  # a step of power iteration in each pass
        critic(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    normalised = _matrices(critic.eval())
    assert set(plain) == {"body.conv1", "body.conv2", "body.conv3", "logit", "embed"}
    for name, matrix in normalised.items():
        assert np.linalg.svd(matrix, compute_uv=False)[0] == pytest.approx(1, abs=0.01), name
        expected = plain[name] / np.linalg.svd(plain[name], compute_uv=False)[0]
        np.testing.assert_allclose(matrix, expected, rtol=0.01, atol=1e-6, err_msg=name)


def test_a_dense_discriminator_under_spectral_normalisation_has_slope_1_at_most():
    torch.manual_seed(0)
    critic = build_discriminator("mlp", img_resolution=8, img_channels=1, width=0.25)
    with torch.no_grad():
        for weight in critic.parameters():
            weight *= 30
    normalise_spectrally(critic)
    for _ in range(30):
        critic(torch.rand(2, 1, 8, 8))
    critic.eval()
    one, other = torch.randn(2, 200, 1, 8, 8)
    slopes = (critic(one) - critic(other)).abs() / (one - other).flatten(1).norm(dim=1)
    assert slopes.max() <= 1.01


def test_spectral_normalisation_stands_still_while_sampling():
    critic = build_discriminator("dcgan", img_resolution=8, img_channels=1, width=0.1)
    normalise_spectrally(critic)
    critic.eval()
    image = torch.rand(2, 1, 8, 8)
    assert torch.equal(critic(image), critic(image))


# Finite differences


def test_on_a_linear_critic_finite_differences_are_the_slope_along_the_noise():
    critic, noise = linear_critic(1.5), images(4)
    along = (critic(noise) - 3.0).square().mean().item() / 2
    assert finite_difference_penalty(critic, images(1), noise).item() == pytest.approx(along, rel=1e-6)


def test_the_mean_of_finite_differences_is_the_exact_penalty():
    """On a real discriminator: the mean over 4096 e has a relative error of √2 / 64 = 2.2 %, and float32 adds less."""
    torch.manual_seed(0)
    critic = build_discriminator("dcgan", img_resolution=16, img_channels=1, width=0.125, d_norm="none")
    image = torch.rand(1, 1, 16, 16) * 2 - 1
    exact = zero_centred_penalty(critic, image).item()
    noise = torch.randn(4096, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    estimate = finite_difference_penalty(critic, image.expand(4096, -1, -1, -1), noise).item()
    assert estimate == pytest.approx(exact, rel=0.08)


def test_finite_differences_move_the_weights_as_the_exact_penalty_does():
    """On a smooth critic of 30 pixels; the gradients of 50,000 estimates agree with the exact ones to some percent."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    image, noise = images(1, 1, 2, 3, 5), images(2, 50_000, 2, 3, 5)
    moves = []
    for penalty in (
        zero_centred_penalty(critic, image),
        finite_difference_penalty(critic, image.expand(50_000, -1, -1, -1), noise),
    ):
        gradients = torch.autograd.grad(penalty, list(critic.parameters()), materialize_grads=True)
        moves.append(torch.cat([each.flatten() for each in gradients]))
    assert torch.cosine_similarity(*moves, dim=0).item() > 0.99
    assert (moves[0].norm() / moves[1].norm()).item() == pytest.approx(1, abs=0.05)


def test_spectral_normalisation_does_not_move_between_the_two_sides_of_a_difference():
    torch.manual_seed(0)
    critic = build_discriminator("dcgan", img_resolution=16, img_channels=1, width=0.125, d_norm="none")
    normalise_spectrally(critic)
    nothing = torch.zeros(8, 1, 16, 16)
    assert finite_difference_penalty(critic, torch.rand(8, 1, 16, 16), nothing).item() == 0


def test_drift_is_the_mean_square_of_the_scores():
    assert drift_penalty(torch.tensor([3.0, -1.0])).item() == 5
