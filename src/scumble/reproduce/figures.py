"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from scumble.core.errors import InputError, nearest
from scumble.reproduce.choices import Guidance, Optimizers, Regularised
from scumble.reproduce.descents import Identity, Long, SDSAgainstDDS
from scumble.reproduce.experiment import Experiment
from scumble.reproduce.gradients import Bias, GradientMaps, Norms
from scumble.reproduce.seeking import ModeSeeking

FIGURES: Mapping[str, type[Experiment]] = {
    kind.name: kind
    for kind in (
        SDSAgainstDDS,
        Identity,
        GradientMaps,
        Bias,
        Norms,
        Guidance,
        ModeSeeking,
        Regularised,
        Optimizers,
        Long,
    )
}


def chosen(names: Sequence[str], **settings: Any) -> list[Experiment]:
    """The experiments of these names (none: all), with those of the settings that are given and that they have.

    Raises:
        InputError: an unknown name, a value out of its range, or a setting that none of them has.
    """
    for name in names:
        if name not in FIGURES:
            known = ", ".join(FIGURES)
            raise InputError(
                f"--figure {name}: there is no such figure{nearest(name, FIGURES)}; known are {known}"
            )
    kinds = [FIGURES[name] for name in dict.fromkeys(names or FIGURES)]
    given = {key: value for key, value in settings.items() if value is not None}
    has = {kind: {f.name for f in fields(kind)} for kind in kinds}
    for key in given:
        if not any(key in own for own in has.values()):
            names = ", ".join(kind.name for kind in kinds)
            raise InputError(f"--{key}: {names} has none; leave it out")
    return [kind(**{key: value for key, value in given.items() if key in has[kind]}) for kind in kinds]
