"""accelerate's Accelerator, for one training of several in a process."""

from __future__ import annotations

from typing import Any


def new_accelerator(*, mixed_precision: str, cpu: bool, **more: Any) -> Any:
    """An Accelerator. The library keeps the precision of a process's first one and refuses another: it forgets here."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=mixed_precision, cpu=cpu, **more)
