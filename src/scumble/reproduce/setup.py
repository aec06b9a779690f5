"""What is decided before anything is measured: guidance, pictures, and the experiments that they allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from scumble.core.errors import InputError
from scumble.core.prior import Card
from scumble.editing.checks import check_model
from scumble.editing.plan import choose
from scumble.measuring.tasks import Tasks
from scumble.methods.dds import DDS
from scumble.reproduce.experiment import Experiment
from scumble.reproduce.material import scenes
from scumble.scenes import Split


def guidance_on(card: Card, given: float | None) -> float:
    """The user's, the card's or the paper's. Raises InputError for a model without text, or a value out of range."""
    check_model(card, "reproduce dds", DDS.needs, "a target")
    method, _ = choose("dds", DDS, card, {} if given is None else {"guidance": given})
    return cast(Any, method).guidance


def drawn(experiments: Sequence[Experiment], split: Split, side: int) -> tuple[Tasks, list[str]]:
    """Scenes for all experiments, `side` pixels long, and prompts for painting."""
    return scenes(split, max(one.pictures for one in experiments), side)


def allowed(
    experiments: Sequence[Experiment], tasks: Tasks, skip: Callable[[str], None] | None = None
) -> list[Experiment]:
    """The experiments for which enough is known of a user's pictures, each with no more pictures than there are.

    skip: called with a sentence on what is left out. If it is None, InputError is raised instead.
    """
    fit: list[Experiment] = []
    for one in experiments:
        if need := lacking(one, tasks):
            why = f"{one.name}: it needs a {need} for every edit of the list (docs/bench.md)"
            if skip is None:
                raise InputError(f"--figure {why}")
            skip(why)
        else:
            fit.append(one.within(len(tasks.all)))
    return fit


def lacking(experiment: Experiment, tasks: Tasks) -> str:
    """What the experiment must know of every edit and these do not provide: "mask", "truth", or nothing."""
    has = {"mask": tasks.has_masks, "truth": tasks.has_truths}
    return " and ".join(need for need in sorted(experiment.needs) if not has[need])
