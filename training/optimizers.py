"""Adam and RMSprop that leave ``torch._dynamo`` unloaded: importing it takes a second or more at the start of a run.

``torch.optim`` imports it, the front end of ``torch.compile``, only to keep optimisers out of compiled code; here only
networks are compiled. What is computed stays that of ``torch.optim``. A version of torch with other private names works
too, and imports it.
"""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer

for _name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
    _method = inspect.unwrap(getattr(Optimizer, _name))
    setattr(_method, "__dynamo_disable", _method)  # where torch._disable_dynamo looks


class Adam(torch.optim.Adam):
    """``torch.optim.Adam``, not differentiable."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class RMSprop(torch.optim.RMSprop):
    """``torch.optim.RMSprop``, not differentiable."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.RMSprop.step))
