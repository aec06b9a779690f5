"""What the machine has: memory taken and left, and what to try when it does not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scumble.core.errors import MachineError

EXHAUSTED = ("out of memory", "not enough memory", "can't allocate memory")  # torch's words, by device
SMALLEST = 256  # pixels of a canvas that nobody is advised to go below


def peak(device: str = "cpu") -> int:
    """Bytes: the most that this process has held so far, on its accelerator or, on the CPU, in memory."""
    import psutil

    for name in ("max_memory_allocated", "driver_allocated_memory"):
        if told := getattr(_module(device), name, None):
            return int(told())
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return int(info.peak_wset)
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free(device: str = "cpu") -> int:
    """Bytes that are left, on the accelerator or, on the CPU, in memory."""
    import psutil

    told = getattr(_module(device), "mem_get_info", None)
    return int(told()[0]) if told else psutil.virtual_memory().available


def _module(device: str) -> Any:
    """torch's module of an accelerator; None for the CPU, and for a device that is not there."""
    import torch

    kind = device.partition(":")[0]
    if kind in ("cpu", "auto"):
        return None
    try:
        return torch.get_device_module(kind)
    except RuntimeError:
        return None


@contextmanager
def limits(loaded: Mapping[str, object], size: int | None = None) -> Iterator[None]:
    """Inside, running out of memory is a MachineError: what was taken, what is left, what to try.

    `loaded`: the options a model is loaded with (device, dtype, memory); `size`: the canvas's long side, where
    something is on it already.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        told = isinstance(error, MachineError)
        if told or not (isinstance(error, MemoryError) or any(words in str(error) for words in EXHAUSTED)):
            raise
        device = str(loaded.get("device", "cpu"))
        doing = f"at {size} pixels" if size else "while the model was loaded"
        raise MachineError(
            f"out of memory on {device} {doing}: {peak(device) / 1e9:.1f} GB were taken and "
            f"{free(device) / 1e9:.1f} GB are left; try {cheaper(loaded, size)}"
        ) from error


def cheaper(loaded: Mapping[str, object], size: int | None) -> str:
    """The next setting that takes less memory, the one that costs least first."""
    device, memory = str(loaded.get("device", "cpu")), loaded.get("memory") or ()
    assert isinstance(memory, list | tuple)
    accelerated = device.partition(":")[0] not in ("cpu", "auto")
    if accelerated and loaded.get("dtype") == "float32":
        return "--dtype float16"
    names = ("slicing", "tiling", "offload", "sequential") if accelerated else ("slicing", "tiling")
    left = [name for name in names if name not in memory]
    if left:
        return "--memory " + ",".join([*map(str, memory), left[0]])
    if size and size > SMALLEST:
        return f"--size {max(SMALLEST, size * 3 // 4)}"
    return "--device cpu" if accelerated else "a smaller checkpoint, or close other programs"
