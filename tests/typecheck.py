"""Checks every annotation of the inner rooms at run time, tensor shapes included; import it before they are.

An int is a float here, as in PEP 484. A check costs more than most functions do on an exact prior, and the steps of a
loop are alike, so each test has its first `CALLS` checked (`again`, which tests/conftest.py calls before each).
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from beartype import BeartypeConf, beartype
from jaxtyping import config, install_import_hook

CALLS = 1000
CONF = BeartypeConf(is_pep484_tower=True)
# Not the methods: what users type reaches their constructors, which refuse it in words of their own.
INNER = "core", "loops", "scores", "attention", "artifacts", "inversions", "tuning"
ROOMS = [f"scumble.{room}" for room in INNER]
calls = 0


def again() -> None:
    """Check the next calls."""
    global calls
    calls = 0
    config.update("jaxtyping_disable", False)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """What the import hook applies to arguments, and again to arguments and result."""
    checked = beartype(conf=CONF)(function)

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        global calls
        calls += 1
        if calls == CALLS:
            config.update("jaxtyping_disable", True)
        return checked(*args, **kwargs)

    return counted


install_import_hook(ROOMS, "tests.typecheck.check")

# A value satisfies a protocol as its class does. Python asks every property each time, and a prior's card is dear.
META: Any = type(Protocol)
satisfies, satisfied = META.__instancecheck__, set[tuple[type, type]]()


def satisfies_once(protocol: type, value: object) -> bool:
    if not protocol.__module__.startswith("scumble."):
        return satisfies(protocol, value)
    pair = protocol, type(value)
    if pair not in satisfied and satisfies(protocol, value):
        satisfied.add(pair)
    return pair in satisfied


META.__instancecheck__ = satisfies_once
