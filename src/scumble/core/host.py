"""What a host program may have set in torch before it calls us. No result may depend on it.

The default dtype is not set aside here, because it is one for all threads: whoever makes a tensor says its dtype.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", Tensor, Tensor | None)


@contextmanager
def isolated() -> Generator[None]:
    """Inside, and as a decorator: no gradients, no inference mode, no autocast, the CPU as default device.

    Gradients can be switched on inside, which they cannot in a host's inference mode. Afterwards all is as before.
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
    """The tensor, or a copy where it was made in inference mode: autograd refuses those for good."""
    return x.clone() if x is not None and x.is_inference() else x
