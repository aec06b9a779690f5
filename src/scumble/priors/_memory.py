"""Settings that save memory at the cost of time, and the remedies when memory runs out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from scumble.core import machine
from scumble.core.errors import InputError, MachineError

MEMORY: Mapping[str, str] = {  # the cheapest in time first
    "slicing": "the rows of a batch pass through the networks one by one",
    "tiling": "the codec works in overlapping tiles",
    "text": "text encoders leave memory after the prompts are read; other prompts read them from the disk again",
    "offload": "only the component in use is on the device; the others stay in main memory",
    "8bit": "matrices of the network and the text encoders are kept in 8 bits",
    "4bit": "they are kept in 4 bits",
    "sequential": "only the layer in use is on the device",
}

EXCLUSIVE = (
    *(("offload", "sequential"), ("8bit", "4bit"), ("8bit", "sequential"), ("4bit", "sequential")),
    ("text", "sequential"),
)


def check_memory(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once. Raises InputError for one that is not in MEMORY, or two that exclude each other."""
    names = (names,) if isinstance(names, str) else tuple(dict.fromkeys(names))
    for name in names:
        if name not in MEMORY:
            raise InputError(f"memory: {name!r}; known are {', '.join(MEMORY)}")
    for one, other in EXCLUSIVE:
        if {one, other} <= set(names):
            raise InputError(f"memory: {one!r} and {other!r} exclude each other; use one of them")
    return names


class Desk:
    """The device that a prior's components share, and how sparingly they do."""

    def __init__(self, device: torch.device, memory: Sequence[str] = ()):
        self.device, self.memory = device, check_memory(memory)
        self.one_by_one = "slicing" in self.memory
        self.forgets = "text" in self.memory
        self._taking_turns = not {"offload", "sequential", "text"}.isdisjoint(self.memory)
        self._together: list[nn.Module] = []  # that may be on the device at the same time
        self._there: list[nn.Module] = []  # of those that take turns, the ones on the device

    @property
    def home(self) -> torch.device:
        """Where components are loaded to, and wait."""
        return torch.device("cpu") if self._taking_turns else self.device

    def prepare(self, network: Any, vae: Any, *text_encoders: Any) -> None:
        """Switch the components' own settings on."""
        if self.forgets and "offload" not in self.memory:
            self._together = [network, vae]
        if "slicing" in self.memory:
            vae.enable_slicing()
            # No fused attention there: whole maps would be written out.
            if self.device.type == "mps" and hasattr(network, "set_attention_slice"):
                network.set_attention_slice("max")
        if "tiling" in self.memory:
            vae.enable_tiling()
        if "sequential" in self.memory:
            from accelerate import cpu_offload  # pyright: ignore[reportMissingTypeStubs]

            for module in (network, *text_encoders):
                cpu_offload(module, self.device)

    @contextmanager
    def at_work(self, module: Any, *, beside: bool = False) -> Generator[None]:
        """The component on the device, while the context is open. `beside`: those that are there stay, since a gradient
        comes back through them, too. Raises MachineError where memory runs out.
        """
        with explained(self.device, self.memory):
            if self._taking_turns and not _among(module, self._there):
                stay = [
                    other
                    for other in self._there
                    if beside or (_among(module, self._together) and _among(other, self._together))
                ]
                for other in self._there:
                    if not _among(other, stay):
                        other.to(self.home)
                self._there = stay
                if not hasattr(module, "_hf_hook"):  # accelerate moves the layers of the others
                    self._there = [*stay, module.to(self.device)]
            yield

    def replace(self, module: nn.Module, by: nn.Module) -> None:
        """A component that another, at the same place, stands for from now on."""
        self._together = [by if other is module else other for other in self._together]
        self._there = [by if other is module else other for other in self._there]

    def forget(self, module: nn.Module) -> None:
        """A component that is dropped."""
        self._there = [other for other in self._there if other is not module]


def _among(module: Any, modules: Sequence[nn.Module]) -> bool:
    return any(module is each for each in modules)


@contextmanager
def explained(device: torch.device, memory: Sequence[str] = ()) -> Generator[None]:
    """Raises MachineError, with the figures and the next cheaper setting, where memory runs out inside."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(_out_of_memory(device, memory)) from error
    except RuntimeError as error:  # the CPU's and Apple's allocators have no class of their own
        if any(words in str(error) for words in machine.EXHAUSTED):
            raise MachineError(_out_of_memory(device, memory)) from error
        raise


def _out_of_memory(device: torch.device, memory: Sequence[str]) -> str:
    excluded = {name for pair in EXCLUSIVE if not set(pair).isdisjoint(memory) for name in pair}
    unused = [name for name in MEMORY if name not in memory and name not in excluded]
    if device.type == "cpu" or "sequential" in memory:
        unused = [name for name in unused if name not in ("offload", "sequential")]
    remedies = [f"--memory {name} (memory={name!r}: {MEMORY[name]})" for name in unused[:1]]
    remedies += ["a smaller --size"]
    if device.type == "cpu":
        remedies += ["a smaller checkpoint"]
    else:
        remedies += ["--dtype float16 if it is not in use", "--device cpu, which is slow"]
    return (
        f"memory: {device} ran out; at most {machine.peak(str(device)) / 1e9:.1f} GB were in use here and "
        f"{machine.free(str(device)) / 1e9:.1f} GB are free now; try, one after the other: {'; '.join(remedies)}."
    )
