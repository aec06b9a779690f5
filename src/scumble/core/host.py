"""Settings of torch that a host program may have changed before it calls this library. No result may depend on them.

The default dtype is not reset here, because it applies to all threads. Code that makes a tensor states its dtype.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", Tensor, Tensor | None)


@contextmanager
def isolated() -> Generator[None]:
    """A context and decorator: no gradients, no inference mode, no autocast, and the CPU as default device.

    Gradients can be switched on inside, which is impossible in a host's inference mode. Afterwards all settings are
    restored.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        accelerator = torch.accelerator.current_accelerator()
        for kind in ("cpu", *((accelerator.type,) if accelerator else ())):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def owned(x: T) -> T:
    """The tensor, or a copy if it was made in inference mode: autograd never accepts those."""
    return x.clone() if x is not None and x.is_inference() else x
