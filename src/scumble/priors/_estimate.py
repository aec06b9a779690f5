"""How much memory a checkpoint takes, before anything is loaded: its weights by the files' headers, its activations by
its configs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from scumble.core import machine
from scumble.core.errors import MachineError
from scumble.priors._activations import activations
from scumble.priors._card import describe, told
from scumble.priors._folder import Folder
from scumble.priors._quantised import BITS, BYTES
from scumble.priors._recognise import beginning, read_header
from scumble.priors._single_file import SingleFile

GIB = 2**30
COUNTER = ".num_batches_tracked"  # of batch norms: one whole number of eight bytes in every precision
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
    """Bytes of the weights by part, in `dtype` and with the settings `memory`. Activations are `pictures`."""
    bits = next((BITS[name] for name in memory if name in BITS), None)
    sizes: dict[str, int] = {}
    for part in folder.parts:
        if isinstance(folder, SingleFile) and folder.quantised and part == folder.kin.network:
            sizes[part] = folder.file.stat().st_size
            continue
        shapes = _shapes(folder, part)
        counters = sum(name.endswith(COUNTER) for name in shapes)
        numbers = _matrices({name: shape for name, shape in shapes.items() if not name.endswith(COUNTER)})
        small = BYTES[bits] if bits and part != "vae" else dtype.itemsize
        wide = folder.config("vae").get("force_upcast") and dtype == torch.float16 and part == "vae"
        sizes[part] = int(numbers[0] * small + numbers[1] * (4 if wide else dtype.itemsize)) + 8 * counters
    return sizes


def _shapes(folder: Folder, part: str) -> Mapping[str, tuple[int, ...]]:
    if isinstance(folder, SingleFile):
        begin = beginning(folder.kind, part, folder.shapes)
        if begin is not None:
            return {name: shape for name, shape in folder.shapes.items() if name.startswith(begin)}
        folder = folder.beside
    shapes: dict[str, tuple[int, ...]] = {}
    for file in folder.files(part):
        if file.suffix == ".safetensors":
            shapes |= read_header(file)[0]
    return shapes


def _matrices(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """Numbers in matrices of blocks, which can be quantised, and all others."""
    inner = sum(
        math.prod(s)
        for name, s in shapes.items()
        if len(s) == 2 and any(p.isdigit() for p in name.split("."))
    )
    return inner, sum(math.prod(shape) for shape in shapes.values()) - inner


def pictures(folder: Folder, dtype: torch.dtype) -> tuple[int, dict[str, int]]:
    """The side of the model's own square canvas in pixels, and the bytes that one picture of it takes beside the
    weights, without gradients: in the network, with the row of the null prompt if it is asked one, and in the codec.
    """
    known = told(folder)
    fields = describe(folder.family(), known)
    side = int(fields["size"])
    numbers = activations(folder.family(), known, (side, side))
    rows = 1 if fields.get("guidance", "free") != "free" else 2
    wide = known["vae"].get("force_upcast") and dtype == torch.float16
    return side, {
        "network": numbers["network"] * rows * dtype.itemsize,
        "codec": numbers["codec"] * (4 if wide else dtype.itemsize),
    }


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


def lines(folder: Folder, dtype: torch.dtype) -> Iterable[tuple[str, str]]:
    """What a user reads of it."""
    sizes = estimate(folder, dtype)
    parts = ", ".join(f"{part} {size / GIB:.1f}" for part, size in sizes.items())
    name = str(dtype).removeprefix("torch.")
    yield "weights", f"{sum(sizes.values()) / GIB:.1f} GiB in {name} ({parts})"
    side, taken = pictures(folder, dtype)
    shares = ", ".join(f"{part} {size / GIB:.1f}" for part, size in taken.items())
    yield (
        "pictures",
        f"about {max(taken.values()) / GIB:.1f} GiB more at {side} x {side} px ({shares}), where no gradient is taken",
    )
    less = (
        f"{_flags(each)} {at_once(estimate(folder, dtype, each), each) / GIB:.1f} GiB" for each in SETTINGS
    )
    yield "with less", "; ".join(less)
    whole, text = kept(sizes, ()), kept(sizes, ("text",))
    yield (
        "main memory",
        (
            f"{whole / GIB:.1f} GiB while it loads; with --memory text {text / GIB:.1f} GiB once prompts are read"
        ),
    )


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
    remedy = next((f"try {_flags(each)}" for each in fits), "try --memory sequential, which is slow")
    raise MachineError(
        f"memory: the weights of '{folder.name}' take {needed / GIB:.1f} GiB on {device}, and {room / GIB:.1f} GiB are "
        f"free; {remedy}, or --device cpu"
    )


def _flags(memory: Sequence[str]) -> str:
    return " ".join(f"--memory {name}" for name in memory)
