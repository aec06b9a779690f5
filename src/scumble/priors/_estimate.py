"""How much memory a checkpoint takes, before anything is loaded: its weights by the files' headers, its activations by
its configs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from scumble.core import machine
from scumble.core.errors import InputError, MachineError
from scumble.priors import _kept
from scumble.priors._activations import activations
from scumble.priors._card import describe, told
from scumble.priors._conditions import Config
from scumble.priors._families import load_class
from scumble.priors._folder import Folder
from scumble.priors._quantised import BITS, BYTES
from scumble.priors._quiet import quiet
from scumble.priors._recognise import beginning, read_header
from scumble.priors._single_file import SingleFile

GIB = 2**30
COUNTER = ".num_batches_tracked"  # of batch norms: one whole number of eight bytes in every precision
WIDE = ".wo."  # layers of T5 that transformers keeps in float32 beside float16
# What to try, the cheapest in time first.
SETTINGS: Sequence[tuple[str, ...]] = (
    ("text",),
    ("offload",),
    ("8bit",),
    ("8bit", "offload"),
    ("4bit",),
    ("4bit", "offload"),
)


def estimate(folder: Folder, dtype: torch.dtype, memory: Sequence[str] = ()) -> dict[str, int]:
    """Bytes of the weights by part, in `dtype` and with the settings `memory`."""
    bits = next((BITS[name] for name in memory if name in BITS), None)
    sizes: dict[str, int] = {}
    for part in folder.parts:
        if isinstance(folder, SingleFile) and folder.quantised and part == folder.kin.network:
            sizes[part] = folder.file.stat().st_size
            continue
        shapes = _shapes(folder, part)
        counters = sum(name.endswith(COUNTER) for name in shapes)
        numbers = _matrices({name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)})
        wide = folder.config("vae").get("force_upcast") and dtype == torch.float16 and part == "vae"
        plain = 4 if wide else dtype.itemsize
        small = BYTES[bits] if bits and part != "vae" else plain
        sizes[part] = int(numbers[0] * small + numbers[1] * plain) + 8 * counters
        if dtype == torch.float16 and not bits and folder.kin.parts[part].endswith(":T5EncoderModel"):
            sizes[part] += 2 * sum(math.prod(shape) for name, shape in shapes.items() if WIDE in name)
    return sizes


def _shapes(folder: Folder, part: str) -> Mapping[str, tuple[int, ...]]:
    """By the headers of its files or, where they are not there yet, by its config."""
    if isinstance(folder, SingleFile):
        begin = beginning(folder.kind, part, folder.shapes)
        if begin is not None:
            return {name: shape for name, shape in folder.shapes.items() if name.startswith(begin)}
        folder = folder.beside
    try:
        folder.check_part(part)
    except InputError:
        return _built(folder, part)
    shapes: dict[str, tuple[int, ...]] = {}
    for file in folder.files(part):
        if file.suffix == ".safetensors":
            shapes |= read_header(file)[0]
    return shapes


def _built(folder: Folder, part: str) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a part that is made of its config, without numbers."""
    kind, config = load_class(folder.kin.parts[part]), folder.config(part)
    reads = getattr(kind, "config_class", None)  # of transformers; diffusers' classes read theirs themselves
    with torch.device("meta"), quiet():
        module: Any = kind(reads.from_dict(config)) if reads else kind.from_config(config)
    lasting = module.state_dict().keys()
    both = (*module.named_parameters(), *module.named_buffers())
    return {name: tuple(weight.shape) for name, weight in both if name in lasting}


def _matrices(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Numbers in matrices of blocks, which can be quantised, and all others."""
    inner = sum(
        math.prod(s)
        for name, s in shapes.items()
        if len(s) == 2 and any(p.isdigit() for p in name.split("."))
    )
    return inner, sum(math.prod(shape) for shape in shapes.values()) - inner


@dataclass(frozen=True)
class Estimate:
    """What a checkpoint takes in `dtype` on a device with the settings `memory`; nothing of it is loaded.

    Sizes are in bytes. What a canvas (H, W) takes, by default the model's own square one, comes on top of the weights.
    """

    folder: Folder
    dtype: torch.dtype
    memory: Sequence[str] = ()
    device: str = "cpu"

    @cached_property
    def weights(self) -> Mapping[str, int]:
        """By part."""
        return estimate(self.folder, self.dtype, self.memory)

    @property
    def resident(self) -> int:
        """Of the weights, what is in the memory of the device at the same time, at most."""
        return (kept if self.device == "cpu" else at_once)(self.weights, self.memory)

    @property
    def side(self) -> int:
        """The long side of the model's own canvas, in pixels."""
        return int(self._fields["size"])

    @property
    def multiple(self) -> int:
        """What both sides of a canvas are multiples of."""
        return int(self._fields["multiple"])

    @property
    def rows(self) -> int:
        """Of a call with guidance: the prompt's, and the null prompt's where the model is asked one."""
        return 1 if self._fields.get("guidance", "free") != "free" else 2

    def pictures(self, size: tuple[int, int] | None = None) -> dict[str, int]:
        """What a guided call takes in "network" and "codec", without gradients."""
        numbers = activations(self.folder.family(), self._configs, size or (self.side, self.side))
        return self._bytes({**numbers, "network": self.rows * numbers["network"]})

    def gradients(self, size: tuple[int, int] | None = None) -> dict[str, int]:
        """What one row keeps in "network" and "codec" until the gradient comes back."""
        return self._bytes(_kept.kept(self.folder.family(), self._configs, size or (self.side, self.side)))

    def _bytes(self, numbers: Mapping[str, int]) -> dict[str, int]:
        wide = self._configs["vae"].get("force_upcast") and self.dtype == torch.float16
        return {
            "network": numbers["network"] * self.dtype.itemsize,
            "codec": numbers["codec"] * (4 if wide else self.dtype.itemsize),
        }

    @cached_property
    def _configs(self) -> Mapping[str, Config]:
        return told(self.folder)

    @cached_property
    def _fields(self) -> Mapping[str, Any]:
        card = self.folder.path / "card.json"
        own: Mapping[str, Any] = self.folder.json(card) if card.is_file() else {}
        return {**describe(self.folder.family(), self._configs), **own}


def at_once(sizes: Mapping[str, int], memory: Sequence[str]) -> int:
    """Bytes of weights that are on the device at the same time."""
    if "sequential" in memory:
        return 0
    if "offload" in memory:
        return max(sizes.values())
    texts = [size for part, size in sizes.items() if part.startswith("text_encoder")]
    rest = sum(sizes.values()) - sum(texts)
    return max(rest, *texts) if "text" in memory else rest + sum(texts)


def kept(sizes: Mapping[str, int], memory: Sequence[str]) -> int:
    """Bytes of weights that are anywhere in memory while the network works."""
    forgotten = "text" in memory
    return sum(size for part, size in sizes.items() if not (forgotten and part.startswith("text_encoder")))


def lines(folder: Folder, dtype: torch.dtype, memory: Sequence[str] = ()) -> Iterable[tuple[str, str]]:
    """What a user reads of it."""
    asked = Estimate(folder, dtype, memory)
    sizes, side, taken, more = asked.weights, asked.side, asked.pictures(), asked.gradients()
    settings = f" with {flags(memory)}" if memory else ""
    yield "weights", f"{amount(sum(sizes.values()))} in {named(dtype)}{settings} ({shares(sizes)})"
    yield "pictures", f"about {amount(max(taken.values()))} more at {side} x {side} px ({shares(taken)})"
    yield (
        "gradients",
        (
            f"through the network a method's gradients keep about {amount(more['network'])} more a row, through the "
            f"codec {amount(more['codec'])}; most methods take none"
        ),
    )
    less = (f"{flags(each)} {amount(at_once(estimate(folder, dtype, each), each))}" for each in SETTINGS)
    yield "with less", "; ".join(less) + ", of the weights on an accelerator at once"
    plain = estimate(folder, dtype)
    whole, text = kept(plain, ()), kept(plain, ("text",))
    yield (
        "main memory",
        f"{amount(whole)} while it loads; with --memory text {amount(text)} once prompts are read",
    )


def amount(size: float) -> str:
    """Bytes as "4.8 GiB", or "35 MiB" below a tenth of one."""
    if size >= 0.1 * GIB:
        return f"{size / GIB:.1f} GiB"
    mebi = size / 2**20
    return f"{mebi:.0f} MiB" if mebi >= 10 else f"{mebi:.2g} MiB"


def shares(sizes: Mapping[str, int]) -> str:
    """ "unet 4.8 GiB, vae 160 MiB"."""
    return ", ".join(f"{part} {amount(size)}" for part, size in sizes.items())


def named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_room(folder: Folder, dtype: torch.dtype, device: torch.device, memory: Sequence[str] = ()) -> None:
    """Raises MachineError, before anything is loaded, where the weights alone are more than the accelerator has free;
    it names the first setting that fits.
    """
    if device.type == "cpu":
        return
    room, needed = machine.free(str(device)), at_once(estimate(folder, dtype, memory), memory)
    if needed <= room:
        return
    fits = (each for each in SETTINGS if at_once(estimate(folder, dtype, each), each) < 0.8 * room)
    remedy = next((f"try {flags(each)}" for each in fits), "try --memory sequential, which is slow")
    raise MachineError(
        f"memory: the weights of '{folder.name}' take {needed / GIB:.1f} GiB on {device}, and {room / GIB:.1f} GiB are "
        f"free; {remedy}, or --device cpu"
    )


def flags(memory: Sequence[str]) -> str:
    return " ".join(f"--memory {name}" for name in memory)
