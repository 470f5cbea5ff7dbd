"""The optimisers of a run compute what those of torch do, and leave ``torch._dynamo`` unloaded."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from gan_serve.training import optimizers


def step(optimizer: torch.optim.Optimizer, network: nn.Module, factor: float) -> None:
    optimizer.zero_grad()
    network(torch.full((3, 4), factor)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("name", "options"), [("Adam", {"betas": (0.5, 0.9), "fused": True}), ("RMSprop", {"alpha": 0.9})]
)
def test_steps_and_state_are_those_of_torch(name, options):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 2), nn.Linear(4, 2)
    theirs.load_state_dict(ours.state_dict())
    pairs = [(getattr(package, name), network) for package, network in ((optimizers, ours), (torch.optim, theirs))]
    states = []
    for build, network in pairs:
        optimizer = build(network.parameters(), lr=0.01, **options)
        step(optimizer, network, 1.0)
        resumed = build(network.parameters(), lr=0.5, **options)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        step(resumed, network, 2.0)
        states.append(resumed.state_dict())
    assert all(torch.equal(*weights) for weights in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for one, other in zip(states[0]["state"].values(), states[1]["state"].values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not any(weight.grad_fn for weight in ours.parameters())


def test_a_step_does_not_import_the_compiler():
    script = """
import sys, torch
from gan_serve.training.optimizers import Adam
network = torch.nn.Linear(2, 2)
optimizer = Adam(network.parameters(), fused=True)
network(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
