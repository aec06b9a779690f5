"""What a contestant runs on: a set of edits, with a prior or the exact score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import scumble
from scumble.bench.baselines import BASELINES
from scumble.bench.contestants import Contestant, Ready, make_ready
from scumble.bench.exact import ExactScore, exact_card, reduced_edits
from scumble.core.errors import InputError
from scumble.core.prior import Card, Prior
from scumble.editing.checks import check_words
from scumble.editing.passport import versions
from scumble.measuring.tasks import SEED, Tasks, scene_tasks
from scumble.scenes import Split

VERSIONS = ("python", "torch", "diffusers", "transformers")


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """Edits, and a prior that is made when it is first needed, because the exact score of a world takes a while."""

    tasks: Tasks
    card: Card
    loaded: Mapping[str, object]
    make: Callable[[], Prior] = field(repr=False)
    given: Mapping[str, object] = field(default_factory=dict[str, object])

    @cached_property
    def prior(self) -> Prior:
        return self.make()

    @property
    def settings(self) -> dict[str, object]:
        """What distinguishes results of this stage from all others."""
        where = {
            "device": str(self.loaded.get("device", "cpu")),
            "dtype": str(self.loaded.get("dtype", "float32")),
        }
        found = {name: version for name, version in versions().items() if name in VERSIONS}
        model = {"model": self.card.id, "hash": self.card.hash[:16]}
        return {**self.tasks.world, **model, **where, "scumble": scumble.__version__, **found}

    def ready(self, contestant: Contestant) -> Ready:
        """The contestant with its method, fit for this stage.

        Raises:
            InputError: what `make_ready` refuses, words that the model does not know, masks or truths that are not
                there.
        """
        ready, tasks = make_ready(contestant, self.card, self.given), self.tasks
        needs, label = ready.method.needs, contestant.label
        if "mask" in contestant.extras and not tasks.has_masks:
            raise InputError(f"--method {label}: not every edit of the list has a mask or a truth")
        if contestant.frames and needs.reference and not tasks.has_truths:
            raise InputError(f"--method {label}: not every edit of the list has a truth")
        check_words(self.card, [text for task in tasks.all for text in (task.source, task.target)], False)
        return ready


class Stages:
    """The stages of a bench: the edits asked for, and the reduced world with the prior or with the exact score."""

    def __init__(
        self,
        prior: Prior,
        tasks: Tasks,
        split: Split = "test",
        n: int = 1,
        given: Mapping[str, object] = MappingProxyType({}),
    ):
        """`split` and `n` are of the reduced world's edits. given: networks and artifacts for the methods."""
        self._prior, self._tasks, self._n, self._given = prior, tasks, n, given
        self._split: Split = split

    def of(self, contestant: Contestant) -> Stage:
        """The stage of a contestant."""
        return getattr(self, contestant.world)

    @cached_property
    def whole(self) -> Stage:
        return self._stage(self._tasks, self._prior.card, lambda: self._prior)

    @cached_property
    def reduced(self) -> Stage:
        side = self._prior.card.size
        tasks = scene_tasks(self._split, self._n, side, reduced_edits(self._split, SEED), "reduced")
        return self._stage(tasks, self._prior.card, lambda: self._prior)

    @cached_property
    def exact(self) -> Stage:
        return self._stage(self.reduced.tasks, exact_card(self._prior.card), lambda: ExactScore(self._prior))

    def _stage(self, tasks: Tasks, card: Card, make: Callable[[], Prior]) -> Stage:
        return Stage(tasks=tasks, card=card, loaded=self._prior.loaded, make=make, given=self._given)


def framing(
    contestants: Sequence[Contestant], *, has_truths: bool = True, names: Sequence[str] = tuple(BASELINES)
) -> list[Contestant]:
    """The reference rows, for every set of edits that the contestants run on, except those already given."""

    def extra(contestant: Contestant) -> frozenset[str]:
        return frozenset({"reduced"} if contestant.world != "whole" else ())

    given = {(c.name, extra(c)) for c in contestants}
    return [
        Contestant(label="+".join([name, *extras]), name=name, extras=extras)
        for extras in dict.fromkeys(map(extra, contestants))
        for name in names
        if (name, extras) not in given and (has_truths or name != "ceiling")
    ]
