"""A diffusers scheduler config -> our Schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from scumble.core.errors import InputError
from scumble.core.schedule import Schedule


def from_scheduler(config: Mapping[str, Any]) -> Schedule:
    """The noise schedule and grid that a checkpoint's scheduler config stands for, whatever its solver.

    Values the config leaves unsaid are the defaults of its own scheduler class, which differ among classes
    (a class whose own dependencies are absent, a dummy in diffusers, has none: the common ones serve).
    Raises InputError for a scheduler that is neither a chain of betas nor a rectified flow.
    """
    import diffusers.schedulers

    name = str(config.get("_class_name"))
    scheduler = getattr(diffusers.schedulers, name, None)
    if scheduler is None:
        raise InputError(
            f"scheduler config: {name} is not a scheduler of the installed diffusers; update diffusers"
        )
    parameters = inspect.signature(scheduler.__init__).parameters.values()
    unsaid = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    full = {**unsaid, **config}
    if name.startswith("FlowMatch") or full.get("prediction_type") == "flow_prediction":
        return Schedule.flow(full.get("num_train_timesteps", 1000))
    if "beta_schedule" not in full:
        raise InputError(f"scheduler config: {name} is neither a chain of betas nor a rectified flow")
    return Schedule.from_config(full)
