"""`scumble doctor`: what this installation has, what it lacks, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import typer

NEEDED_DISK = 5e9  # bytes: a Stable Diffusion checkpoint in half precision, with room to spare


EXAMPLES = ("scumble doctor", "scumble doctor --help")


def command() -> None:
    """Check this installation."""
    raise typer.Exit(run())


def run() -> int:
    """Print one line per check; 0 if all is well, 1 if something needs attention."""
    checks: list[Callable[[], tuple[bool, str]]] = [python, packages, device, memory, cache, weights]
    well = True
    for check in checks:
        try:
            good, line = check()
        except Exception as error:  # a broken part is what a doctor is called for
            good, line = False, f"{check.__name__}: {type(error).__name__}: {error}"
        well &= good
        typer.echo(f"{'ok' if good else '!!'}  {line}")
    typer.echo("all is well" if well else "see the lines that begin with !!")
    return 0 if well else 1


def python() -> tuple[bool, str]:
    return True, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def packages() -> tuple[bool, str]:
    from scumble.api import versions

    found = {name: version for name, version in versions().items() if name != "python"}
    if not found:
        return False, "scumble runs from its source; pip install it, and its dependencies come along"
    return True, ", ".join(f"{name} {version}" for name, version in found.items())


def device() -> tuple[bool, str]:
    import torch

    chosen = torch.accelerator.current_accelerator()
    where = (
        f"accelerator: {chosen}"
        if torch.accelerator.is_available()
        else "no accelerator: computing on the CPU"
    )
    return True, f"{where}; {torch.get_num_threads()} threads on {os.cpu_count()} cores"


def memory() -> tuple[bool, str]:
    import psutil

    total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    return (
        free > 1.5e9,
        f"memory: {free / 1e9:.1f} of {total / 1e9:.1f} GB free; the built-in model needs 1.5",
    )


def cache() -> tuple[bool, str]:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
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
