"""How a method reads a network's attention and features, or changes them, without knowing which network it is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.types import Time

Row = tuple[str, Literal["null", "text"]]
"""A named row of a batched call: the role ("source", "target", ...) and the side of guidance it stands on."""

SOURCE: Row = ("source", "text")
TARGET: Row = ("target", "text")
SOURCE_NULL: Row = ("source", "null")
TARGET_NULL: Row = ("target", "null")

Kind = Literal["self", "cross", "joint", "self_out", "resnet", "mid"]
Block = Literal["down", "mid", "up", "double", "single"]


@dataclass(frozen=True)
class Site:
    """A place inside a network.

    `kind`: "self", "cross" and "joint" are attention layers (attend), "joint" of the picture and the text together;
    "self_out" is the picture's output of a self- or joint layer, "resnet" that of a residual block, "mid" that of
    the bottleneck (feature). `block`: "down", "mid" or "up" of a U-Net, "double" or "single" of a transformer;
    `index` counts sites of this kind within the block in execution order, from 0, and `layer` within the whole
    network; `stride` is the ratio of the latent's side to the site's.
    """

    kind: Kind
    block: Block
    index: int
    stride: int
    layer: int

    def grid(self, latent: tuple[int, int]) -> tuple[int, int]:
        """(h, w) of the site for a latent of size `latent`: an odd side is rounded up when it is halved."""
        return -(-latent[0] // self.stride), -(-latent[1] // self.stride)


def listed(sites: Iterable[Site]) -> str:
    """How many sites of each kind there are: "2 cross in down, 1 cross in mid"."""
    counted = Counter(f"{site.kind} in {site.block}" for site in sites)
    return ", ".join(f"{n} {name}" for name, n in sorted(counted.items()))


def wanted(control: "AttentionControl", sites: Iterable[Site]) -> list[Site]:
    """The sites of a network that a control wants. Raises InputError if there are none."""
    sites = list(sites)
    found = [site for site in sites if control.wants(site)]
    if not found:
        raise InputError(
            f"control: {type(control).__name__} wants no site of this network, which has {listed(sites)}"
        )
    return found


@dataclass(frozen=True, eq=False)
class Now:
    """The moment of a network call: the time that the network is told, the level of x_t, and the name of every row.

    `rows` has one entry per row of the batch, None for an unnamed row; `latent` is (h, w) of x_t. There is no step
    counter: windows are given as times of the grid. `text`: where the text stands among the tokens of joint layers;
    `mask` (rows, tokens): which of these are seen, None for all.
    """

    t: Time
    at: Time
    rows: tuple[Row | None, ...]
    latent: tuple[int, int]
    text: slice | None = None
    mask: Tensor | None = None

    def find(self, row: Row) -> list[int]:
        """The indices of the rows that are called `row`."""
        return [i for i, name in enumerate(self.rows) if name == row]


@runtime_checkable
class AttentionControl(Protocol):
    """Reads or replaces attention and features. Both hooks may keep the autograd graph of what they see."""

    def wants(self, site: Site) -> bool:
        """Whether to call attend (at attention sites) or feature (at other sites) at this site. It has no side effects
        and may be called at any time.
        """
        ...

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        """q, k, v (rows, heads, tokens, d) -> heads (rows, heads, query tokens, d). At joint sites the tokens
        `now.text` are the text's, all others the picture's, and those that are not in `now.mask` must not be looked at.
        """
        ...

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        """h (rows, c, h, w), or (rows, tokens, c) at "self_out" -> the same shape."""
        ...
