"""The source's part of a descent: the model's predictions for a picture under its own prompt, computed once.

No edit moves the source, so its prediction for a time and a noise is valid for every target, every iteration at that
time, and every edit of a sweep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from scumble.artifacts.origin import check_origin, digests, restored
from scumble.core.errors import InputError
from scumble.core.job import Job
from scumble.core.prior import Card
from scumble.core.types import Image, Latent

ROWS = 32  # of a network call, about


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceBank:
    """Per time of `times` (n,), falling, m draws: `noise` (n, m, b, c, h, w), and `eps`, of the same shape, what
    the model predicts for the sources under it.

    With `antithetic`, every second draw is the negative of the one before. `prior`, `prior_hash`, `size` (H, W),
    `pictures` (digests), `prompts` and `seed` say what it was made from.
    """

    name: ClassVar[str] = "bank"

    prior: str
    prior_hash: str
    size: tuple[int, int]
    pictures: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int
    times: tuple[float, ...]
    antithetic: bool
    noise: Tensor
    eps: Tensor

    def at(self, t: float) -> list[tuple[Latent, Latent]]:
        """(noise, prediction), both (b, c, h, w), of every draw at time t. Raises InputError at any other time."""
        if t not in self.times:
            raise InputError(f"bank: it has no entry for time {t:g}; its times are {list(self.times)}")
        k = self.times.index(t)
        return list(zip(self.noise[k], self.eps[k], strict=True))

    def to(self, device: torch.device) -> "SourceBank":
        """The same on another device."""
        return replace(self, noise=self.noise.to(device), eps=self.eps.to(device))

    def check(
        self,
        card: Card,
        image: Image,
        prompts: Sequence[str],
        seed: int,
        times: Sequence[float],
        draws: int,
        antithetic: bool,
    ) -> None:
        """Raises InputError unless it is the bank that this edit would make itself."""
        again = "make the bank again"
        check_origin(self, card, image, prompts, again)
        if self.seed != seed:
            raise InputError(f"bank: made with seed {self.seed}, but this edit's is {seed}; {again}")
        if self.times != tuple(times):
            raise InputError(
                f"bank: made for {len(self.times)} times from {self.times[0]:g}, but this edit takes "
                f"{len(times)} from {times[0]:g}; set steps, repeats and strength as they were, or {again}"
            )
        ours, theirs = (
            f"{n} {'antithetic ' * paired}draws at a time"
            for n, paired in ((self.noise.shape[1], self.antithetic), (draws, antithetic))
        )
        if ours != theirs:
            raise InputError(f"bank: made with {ours}, but this edit takes {theirs}; {again}")

    # As a file: tensors and JSON

    def tensors(self) -> dict[str, Tensor]:
        """The parts that are stored as tensors."""
        return {"noise": self.noise, "eps": self.eps}

    def about(self) -> dict[str, Any]:
        """The parts that are stored as JSON."""
        return {name: getattr(self, name) for name in _ABOUT}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "SourceBank":
        """The bank from its stored `tensors` and `about`.

        Raises InputError if they are incomplete, contradict each other or are not numbers.
        """
        return restored(cls.name, cls, tensors, about, _ABOUT)

    @property
    def whole(self) -> bool:
        """Whether the sizes of its parts fit together."""
        n, m, b = self.noise.shape[:3]
        whole = self.noise.ndim == 6 and self.eps.shape == self.noise.shape
        whole &= n == len(self.times) > 0 and m > 0 and b == len(self.prompts)
        return whole and len(self.pictures) in (1, b)


_ABOUT = ("prior", "prior_hash", "size", "pictures", "prompts", "seed", "times", "antithetic")


def fill(job: Job, z: Latent, times: Sequence[float], draws: int, *, antithetic: bool) -> SourceBank:
    """Evaluates the sources z (1 or b, c, h, w) at all times, with about `ROWS` rows per call."""
    schedule, size = job.prior.schedule, max(1, ROWS // job.sources)
    z = z.expand(job.sources, -1, -1, -1)
    text = job.text(job.source, job.sources).named(("source", "text"))
    noise: list[Latent] = []
    for i in range(len(times) * draws):
        paired = antithetic and i % draws % 2
        noise.append(-noise[-1] if paired else job.noise.like(z))
    levels = [schedule.time(t, len(z)) for t in times for _ in range(draws)]
    eps: list[Latent] = []
    for i in range(0, len(levels), size):
        some, t = noise[i : i + size], torch.cat(levels[i : i + size])
        x_t = schedule.mix(z.repeat(len(some), 1, 1, 1), torch.cat(some), t)
        eps.append(job.prior.predict(x_t, t, text.take([*range(len(z))] * len(some))).eps)
    shape = len(times), draws, *z.shape
    return SourceBank(
        prior=job.prior.card.id,
        prior_hash=job.prior.card.hash,
        size=(job.image.shape[-2], job.image.shape[-1]),
        pictures=digests(job.image),
        prompts=job.source * (job.sources // len(job.source)),
        seed=job.request.seed,
        times=tuple(times),
        antithetic=antithetic,
        noise=torch.stack(noise).reshape(shape),
        eps=torch.cat(eps).reshape(shape),
    )
