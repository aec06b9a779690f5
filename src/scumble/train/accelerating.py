"""accelerate's Accelerator, for one training of several in a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scumble.core.errors import InputError, nearest


def check_trackers(names: Sequence[str]) -> None:
    """Raises InputError for a tracker that accelerate does not know or that is not installed: it would say nothing."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    known = [str(each.value) for each in LoggerType if each.value != "all"]
    ready = [str(each.value) for each in get_available_trackers()]
    for name in names:
        if name not in known:
            raise InputError(f"training: trackers: there is no {name!r}{nearest(name, known)}")
        if name not in ready:
            package = "'scumble[train]'" if name == "tensorboard" else name
            raise InputError(f"training: trackers: {name} is not installed: pip install {package}")


def new_accelerator(*, mixed_precision: str, cpu: bool, **more: Any) -> Any:
    """An Accelerator. The library keeps the precision of a process's first one and refuses another: it forgets here."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=mixed_precision, cpu=cpu, **more)
