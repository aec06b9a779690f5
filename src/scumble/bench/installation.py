"""What is installed, what is missing, and how long edits take on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator

NEEDED_DISK = 5e9  # bytes: a Stable Diffusion checkpoint in half precision, with room to spare

# What edits where no method is named, and how often it asks the network; nothing else in an edit weighs. Operations
# of one such evaluation (multiplications and additions), counted on the networks themselves by a test:
USUAL = {"drawings (the built-in model)": ("dds_fast", 72), "Stable Diffusion 1.5 at 512 px": ("dds", 800)}
OPERATIONS = {"drawings (the built-in model)": 1.10e9, "Stable Diffusion 1.5 at 512 px": 0.803e12}
# What a network makes of the throughput of its commonest layer alone: a U-Net of Stable Diffusion's shape reached
# 50 of 102 GFLOP/s on one core of a CPU. Its norms and activations wait for memory, and its deepest layers are
# narrow. On accelerators it is a guess.
EFFICIENCY = 0.5


def findings() -> Iterator[tuple[bool, str]]:
    """For each check whether it passed, and its result. A check that raises an error has failed."""
    checks: list[Callable[[], tuple[bool, str]]] = [python, packages, device, memory, cache, weights, ability]
    for check in checks:
        try:
            yield check()
        except Exception as error:  # a broken part is what a doctor is called for
            yield False, f"{check.__name__}: {type(error).__name__}: {error}"


def python() -> tuple[bool, str]:
    return True, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def packages() -> tuple[bool, str]:
    from scumble.editing.passport import versions

    found = {name: version for name, version in versions().items() if name != "python"}
    if not found:
        return False, "scumble runs from its source; pip install it to get its dependencies"
    return True, ", ".join(f"{name} {version}" for name, version in found.items())


def device() -> tuple[bool, str]:
    import torch

    from scumble.core.precision import fast_dtype

    chosen = torch.accelerator.current_accelerator()
    where = (
        f"accelerator: {chosen}"
        if torch.accelerator.is_available()
        else "no accelerator: computing on the CPU"
    )
    threads = torch.get_num_threads()
    fast = fast_dtype(str(chosen) if torch.accelerator.is_available() else "cpu")
    precision = (
        "bfloat16 is fast here" if fast == torch.bfloat16 else "bfloat16 is no faster than float32 here"
    )
    return True, f"{where}; {threads} thread{'s' * (threads != 1)} on {os.cpu_count()} cores; {precision}"


def memory() -> tuple[bool, str]:
    import psutil

    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    return (
        free > 1.5e9,
        f"memory: {free / 1e9:.1f} of {total / 1e9:.1f} GB free; the built-in model needs 1.5",
    )


def cache() -> tuple[bool, str]:
    from huggingface_hub import constants

    from scumble.core.errors import MachineError
    from scumble.priors._hub import cache as place

    try:
        folder = place()
    except MachineError as error:
        return False, str(error)
    there = next(p for p in [folder, *folder.parents] if p.exists())
    free = shutil.disk_usage(there).free
    offline = "; offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    return free > NEEDED_DISK, f"downloaded checkpoints: {folder}, {free / 1e9:.0f} GB free{offline}"


def weights() -> tuple[bool, str]:
    from scumble.priors import load

    installed = load.models()
    missing = [name for name in load.BUILTIN if name not in installed]
    if missing:
        return False, f"built-in model {missing[0]}: absent; install again, or name a checkpoint with --model"
    return True, "; ".join(f"built-in model {name}: {card.hash[:12]}" for name, card in installed.items())


def ability() -> tuple[bool, str]:
    """How long edits take here: the number of operations divided by the machine's operations per second."""
    import torch

    kind = (
        str(torch.accelerator.current_accelerator() or "cpu") if torch.accelerator.is_available() else "cpu"
    )
    speed = throughput(kind) * EFFICIENCY
    times = "; ".join(
        f"{method} on {what} about {duration(evaluations * OPERATIONS[what] / speed)}"
        for what, (method, evaluations) in USUAL.items()
    )
    return True, f"estimated time of an edit, at {speed / 1e9:.0f} GFLOP/s: {times}"


def throughput(device: str) -> float:
    """Operations per second in the layer that dominates the time of U-Nets, at the precision of that device."""
    import torch

    rows, channels, side = 1 if device == "cpu" else 4, 640, 32  # DDS asks four rows at once
    dtype = torch.float32 if device == "cpu" else torch.float16
    x = torch.ones(rows, channels, side, side, device=device, dtype=dtype)
    weight = torch.ones(channels, channels, 3, 3, device=device, dtype=dtype)
    repeats = 1 if device == "cpu" else 50
    best = float("inf")
    for _ in range(3):  # the first one warms up
        started = time.perf_counter()
        for _ in range(repeats):
            y = torch.nn.functional.conv2d(x, weight, padding=1)
        y.flatten()[0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return repeats * 2 * weight.numel() * rows * side**2 / best


def duration(seconds: float) -> str:
    """ "8 s", "35 min", "2.5 h"."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
