"""Memory: how much is used, how much is left, and the error when it runs out."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scumble.core.errors import MachineError

EXHAUSTED = ("out of memory", "not enough memory", "can't allocate memory")  # in torch's words, by device
STATUS = Path("/proc/self/status")


def peak(device: str = "cpu") -> int:
    """Bytes: the most that this process has used so far, on its accelerator or, on the CPU, in main memory."""
    import psutil

    for name in ("max_memory_allocated", "driver_allocated_memory"):
        if read := getattr(_module(device), name, None):
            return int(read())
    if most := getattr(psutil.Process().memory_info(), "peak_wset", None):  # Windows
        return int(most)
    if peak := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text() if STATUS.exists() else ""):
        return int(peak[1]) * 1024  # Linux, whose ru_maxrss begins at what the parent process held
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free(device: str = "cpu") -> int:
    """Bytes that are free on the accelerator or, on the CPU, in main memory."""
    import psutil

    free = getattr(_module(device), "mem_get_info", None)
    return int(free()[0]) if free else psutil.virtual_memory().available


def alive(process: int) -> bool:
    """Whether a process with this number runs on this machine."""
    import psutil

    return psutil.pid_exists(process)


def _module(device: str) -> Any:
    """torch's module of an accelerator; None for the CPU."""
    import torch

    kind = device.partition(":")[0]
    return None if kind == "cpu" else torch.get_device_module(kind)


@contextmanager
def limits(device: str = "cpu", remedy: str = "a smaller --size or picture") -> Generator[None]:
    """Inside, running out of memory raises MachineError, with what to try. A model's own MachineError, with more
    remedies, passes through.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, MemoryError) or any(words in str(error) for words in EXHAUSTED)
        if isinstance(error, MachineError) or not exhausted:
            raise
        raise MachineError(
            f"memory: {device} ran out; at most {peak(device) / 1e9:.1f} GB were in use here and "
            f"{free(device) / 1e9:.1f} GB are free now; try {remedy}, or close other programs"
        ) from error
