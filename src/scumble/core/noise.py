"""The only place that draws random numbers."""

from collections.abc import Iterable

import torch
from jaxtyping import Num
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.types import Latent, Time

SEEDS = 2**64  # of a generator: 0 to SEEDS - 1


class Noise:
    """One generator per picture. Picture i draws from seed + i, on the CPU, in float32; draws are then moved to the
    device.

    A picture's draws are the same bit for bit for any batch, device or precision. One picture with K prompts has K
    rows, which share its draws.
    """

    def __init__(self, seed: int, pictures: int = 1):
        self._generators = [
            torch.Generator("cpu").manual_seed((int(seed) + i) % SEEDS) for i in range(pictures)
        ]

    @classmethod
    def of(cls, seeds: Iterable[int]) -> "Noise":
        """One generator for each of the seeds, which need not be consecutive."""
        made = cls(0, 0)
        made._generators = [torch.Generator("cpu").manual_seed(int(seed) % SEEDS) for seed in seeds]
        return made

    def like(self, x: Latent) -> Latent:
        """Standard normal draws of the shape, dtype and device of x (b, c, h, w); b is the number of pictures or, for
        one picture, any number.
        """
        draws = [
            torch.randn(x.shape[1:], generator=g, dtype=torch.float32, device="cpu") for g in self._generators
        ]
        return self._rows(torch.stack(draws).to(x), len(x))

    def times(self, low: int, high: int, rows: int) -> Time:
        """Integer times, uniform on low..high-1, one per row; (rows,) int64 on the CPU."""
        draws = [
            torch.randint(low, high, (1,), generator=g, dtype=torch.int64, device="cpu")
            for g in self._generators
        ]
        return self._rows(torch.cat(draws), rows)

    def orders(self, n: int, rows: int) -> Num[Tensor, "rows n"]:
        """A random order of 0..n-1 for every row; int64 on the CPU."""
        draws = [torch.randperm(n, generator=g, dtype=torch.int64, device="cpu") for g in self._generators]
        return self._rows(torch.stack(draws), rows)

    def _rows(self, draws: Tensor, rows: int) -> Tensor:
        if len(draws) == rows:
            return draws
        if len(draws) != 1:
            raise InputError(
                f"noise: {len(draws)} pictures cannot give {rows} rows; give one seed per picture"
            )
        return draws.expand(rows, *draws.shape[1:])


class Tape(Noise):
    """Recorded draws, returned in order: for parity with recorded runs and for replay."""

    def __init__(self, draws: Iterable[Tensor]):
        self._draws = iter(list(draws))

    def like(self, x: Latent) -> Latent:
        """The next recorded draw, in the dtype and on the device of x."""
        draw = self._rows(self._next(), len(x)).to(x)
        if draw.shape != x.shape:
            raise InputError(f"noise tape: the next draw is {tuple(draw.shape)}, asked for {tuple(x.shape)}")
        return draw

    def times(self, low: int, high: int, rows: int) -> Time:
        """The next recorded times, which must lie in low..high-1."""
        t = self._rows(self._next(), rows)
        if t.is_floating_point() or int(t.min()) < low or int(t.max()) >= high:
            raise InputError(f"noise tape: the next draw is {t}, asked for times in {low}..{high - 1}")
        return t

    def orders(self, n: int, rows: int) -> Num[Tensor, "rows m"]:
        """The next recorded orders (1 or rows, m): m of the numbers 0..n-1, where only the first m counted."""
        order = self._rows(self._next(), rows)
        if order.ndim != 2 or order.is_floating_point() or int(order.min()) < 0 or int(order.max()) >= n:
            raise InputError(f"noise tape: the next draw is {order}, asked for an order of 0..{n - 1}")
        return order

    def _next(self) -> Tensor:
        try:
            return next(self._draws)
        except StopIteration:
            raise InputError("noise tape: all recorded draws are used up") from None
