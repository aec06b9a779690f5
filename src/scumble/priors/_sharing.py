"""One network, several callers: threads take turns, and processes load their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from scumble.core.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Shared")

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()
_guard = threading.Lock()


class Shared:
    """A prior around a network that other priors and threads may use, too.

    A control changes the network for all callers, so it holds the network's lock while it is open; every other call
    (`alone`) holds it while it runs. The lock is re-entrant: calls under a control of the same thread pass.
    """

    lock: threading.RLock
    _changing = False  # whether the weights are changed for a while

    def __copy__(self) -> Self:
        """Another prior around the same network, with the same lock."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    @contextmanager
    def tuning(self) -> Generator[None]:
        """The network's lock: `_refuse_tuning` says first whether its weights can change at all."""
        self._refuse_tuning()
        with self.lock:
            before, self._changing = self._changing, True
            try:
                yield
            finally:
                self._changing = before

    def _refuse_tuning(self) -> None:
        """Raises InputError for weights that cannot change."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise InputError(
            "model: a loaded model is not pickled; hand its name to the other process and scumble.load it there"
        )


def lock_of(network: Any) -> threading.RLock:
    """The lock of a network: one, however many priors share it."""
    with _guard:
        return _locks.setdefault(network, threading.RLock())


def alone(call: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A prior's call that runs while no other thread has a control open, or is inside one."""

    @wraps(call)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return call(self, *args, **kwargs)

    return run


def usable(*networks: nn.Module) -> None:
    """Replaces weights that were made in inference mode by copies, through which gradients can flow."""
    with torch.inference_mode(False):
        for module in (module for network in networks for module in network.modules()):
            for name, weight in module.named_parameters(recurse=False):
                if weight.is_inference():
                    setattr(module, name, nn.Parameter(weight.clone(), requires_grad=False))
            for name, buffer in module.named_buffers(recurse=False):
                if buffer.is_inference():
                    setattr(module, name, buffer.clone())
