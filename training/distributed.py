"""Train one run with several processes, through torch.distributed; torchrun starts them.

Gradients are averaged explicitly after each backward pass, as in StyleGAN's trainers, and not by
DistributedDataParallel: its hooks expect one forward and one backward pass in each step, but a step here has several
critic passes, two networks that share graphs, and a gradient penalty that differentiates twice.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import _functional_collectives

from gan_serve.errors import DeviceUnavailable, RunError

# Long enough for the grid, evaluation and snapshot of a tick, which the first process does alone.
TIMEOUT = timedelta(minutes=30)


class Processes(NamedTuple):
    """The number of this process (rank), and the number of processes of the run (world)."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Return True if this is the process that writes the log, grids and snapshots."""
        return self.rank == 0


def started_processes() -> Processes:
    """Return rank and world as set by torchrun; without torchrun, a single process."""
    rank, world, local_rank = (int(os.environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Processes(rank, world, local_rank) if world > 1 else Processes()


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, with NCCL between GPUs and gloo between CPUs.

    Raises:
        RunError: the processes cannot connect, or another process was lost.
        DeviceUnavailable: there are more processes on this machine than GPUs.
    """
    processes = started_processes()
    if processes.world == 1:
        yield processes
        return
    if device.type == "cuda":
        if processes.local_rank >= torch.cuda.device_count():
            raise DeviceUnavailable(
                f"torchrun started more processes on this machine than it has GPUs ({torch.cuda.device_count()}).",
                f"Give it --nproc-per-node {torch.cuda.device_count()}.",
            )
        torch.cuda.set_device(processes.local_rank)
    # torch.distributed.nn keeps the process group that exists at its import as a default argument. If torch imported
    # it, with the first optimizer, the group would stay alive after its end here, and its threads would sometimes abort
    # the process at exit (see pytorch/pytorch#179291, which was not merged). So it is imported before there is a group.
    importlib.import_module("torch.distributed.nn")
    try:
        # Gloo on GPU machines too, so that messages outside of the training do not wait for a GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    except (dist.DistError, RuntimeError) as error:
        raise RunError(
            f"The {processes.world} processes of this run cannot connect to each other: {_reason(error)}",
            "Start them with torchrun; on several machines give all the same --rdzv-endpoint.",
        ) from error
    lost = False
    try:
        yield processes
    except BaseException as error:
        _ignore_sigterm()
        lost = _is_lost_peer(error)
        if not lost:
            raise
        raise RunError(
            f"Process {processes.rank} of {processes.world} lost another process of this run: {_reason(error)}",
            "Start all of them again with --resume; the run continues from its last snapshot.",
        ) from error
    finally:
        if not (lost and device.type == "cuda"):  # NCCL would wait for the lost process
            dist.destroy_process_group()


def _ignore_sigterm() -> None:
    """Ignore SIGTERM, which torchrun sends to all processes when one fails, so that this one can report its error."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _is_lost_peer(error: BaseException) -> bool:
    """Return True for an error of a lost peer, which gloo and NCCL report only in the message."""
    words = ("gloo", "NCCL", "onnection closed", "onnection reset", "Timed out waiting", "timed out", "peer")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def _reason(error: BaseException) -> str:
    """Return the first sentence of an error of torch.distributed, without the location in its C++ sources."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return (line.partition("] ")[2] if line.startswith("[/") else line).partition(". ")[0]


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over all processes; all gradients are sent in one message."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, averaged in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def average(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes."""
    if dist.is_initialized():
        value = value.clone()
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def any_process(flag: bool) -> bool:
    """Return True if the flag is set in any process; all processes wait for each other."""
    if not dist.is_initialized():
        return flag
    flags = torch.tensor([float(flag)])
    dist.all_reduce(flags)
    return bool(flags.item() > 0)


def barrier() -> None:
    """Wait for all processes."""
    any_process(False)


def same_everywhere(*numbers: int) -> bool:
    """Return True if all processes have the same numbers, each below 2**63."""
    if not dist.is_initialized():
        return True
    least, most = torch.tensor(numbers), torch.tensor(numbers)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return torch.equal(least, most)


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batch of all processes, each with as many images.

    Torch's SyncBatchNorm refuses tensors on the CPU.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [N, C, ...], in training mode by the statistics of all processes."""
        if not self.training or not dist.is_initialized():
            return super().forward(x)
        wide = x.float()
        variances, means = gather(torch.stack(torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0))).unbind(1)
        mean = means.mean(dim=0)
        # Not a difference of large squares, which would lose precision.
        variance = (variances + (means - mean).square()).mean(dim=0)
        with torch.no_grad():
            count = x.numel() // x.shape[1] * dist.get_world_size()
            self.running_mean.lerp_(mean, self.momentum or 0.0)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum or 0.0)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        normal = (wide - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        return (normal * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)


def gather(value: Tensor) -> Tensor:
    """Return the values of all processes, [...] -> [world, ...]; gradients flow back to the process of each.

    The loss is that of all processes together, so its gradients are summed as well, which the functional collectives do
    at any order of differentiation. Torch 2.13 deprecates ``torch.distributed.nn`` in their favour; the module has a
    private name, hence the upper bound for torch in pyproject.toml.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    mine = nn.functional.pad(value[None], [0, 0] * value.ndim + [rank, world - 1 - rank])
    gathered: Tensor = _functional_collectives.all_reduce(mine, "sum", dist.group.WORLD)  # type: ignore[arg-type]
    return gathered


def synchronise_batch_norm(network: nn.Module) -> None:
    """Make every BatchNorm in ``network`` use the batch of all processes; weights and their names stay."""
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            synced = SyncedBatchNorm(layer.num_features, layer.eps, layer.momentum)
            synced.load_state_dict(layer.state_dict())
            setattr(network, name, synced.to(layer.weight.device))
        else:
            synchronise_batch_norm(layer)
