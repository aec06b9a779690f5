"""The reversible change of a prior's weights, in which everything that tunes them runs.

The weights are exchanged, not written to: each one points at other memory while the context is open, and at its own
again afterwards. So they are restored bit for bit, after an exception too, and a change back and forth costs nothing.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior

Weights = Mapping[str, Tensor]
"""Values of weights by the names of `Prior.parameters`."""


def copied(prior: Prior, part: str = "denoiser") -> dict[str, Tensor]:
    """A copy of the weights of a part, to be tuned: `part` as in `Prior.parameters`."""
    return {name: weight.detach().clone() for name, weight in prior.parameters(part).items()}


@contextmanager
def changed(prior: Prior, values: Weights, *, trained: bool = False) -> Generator[Weights]:
    """Inside, the weights named by `values` have these values; afterwards they are as they were, whatever happens.

    Yields the prior's own tensors by name: with `trained`, they want gradients, and what is written to them is written
    to `values`. Contexts may be nested; no other thread uses the network inside. Raises InputError for weights that
    the prior does not have, or has in another shape, and where its weights cannot change (`Prior.tuning`).
    """
    weights = _matched(prior, values)
    with prior.tuning():
        before = {name: (weight.data, weight.requires_grad) for name, weight in weights.items()}
        try:
            for name, weight in weights.items():
                weight.data = values[name].to(weight.device, weight.dtype)
                if trained:
                    weight.requires_grad_()
            yield weights
        finally:
            for name, weight in weights.items():
                weight.data, wanted = before[name]
                weight.requires_grad_(wanted)


def check_precise(prior: Prior, weights: Weights, what: str, instead: str) -> None:
    """Raises InputError for weights of half precision, which lose the small steps of a training."""
    half = next((w.dtype for w in weights.values() if torch.finfo(w.dtype).bits < 32), None)
    if half is not None:
        raise InputError(
            f"{what}: '{prior.card.id}' is loaded in {str(half).removeprefix('torch.')}, too coarse for the small "
            f"steps of a training; load it in float32, or {instead}"
        )


def fitted(prior: Prior, values: Weights) -> dict[str, Tensor]:
    """The values on the device and in the precision of the prior's weights. Raises InputError as `changed` does."""
    return {name: values[name].to(own.device, own.dtype) for name, own in _matched(prior, values).items()}


def _matched(prior: Prior, values: Weights) -> dict[str, Tensor]:
    """The prior's weights that have the names of `values`."""
    own = prior.parameters()
    for name, value in values.items():
        if name not in own:
            raise InputError(f"tuned: model '{prior.card.id}' has no weight {name!r}; tune that model itself")
        if own[name].shape != value.shape:
            shapes = f"{tuple(value.shape)}, and {tuple(own[name].shape)} in model '{prior.card.id}'"
            raise InputError(f"tuned: the weight {name!r} is of shape {shapes}; tune that model itself")
    return {name: own[name] for name in values}
