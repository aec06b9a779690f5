"""A diffusers scheduler config -> our Schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from scumble.core.errors import InputError
from scumble.core.schedule import Schedule
from scumble.core.warp import Warp

Ends = Literal["steps", "table", "fitted"]


def from_scheduler(config: Mapping[str, Any], *, ends: Ends | None = None) -> Schedule:
    """The noise schedule and grid that a checkpoint's scheduler config stands for, whatever its solver.

    Values the config leaves unsaid are the defaults of its own scheduler class, which differ among classes
    (a class whose own dependencies are absent, a dummy in diffusers, has none: the common ones serve). Keys that
    the class does not take are ignored, as diffusers ignores them: SDXL's config has `set_alpha_to_one` beside an
    Euler scheduler, whose last step ends clean. `ends`: where a flow's family begins and ends its grids
    (`core.warp.Warp`), which no config says ("fitted": as "steps", its shift fitted to canvas and steps); without it a
    flow must have an even grid. Raises InputError for a
    scheduler that is neither a chain of betas nor a rectified flow, and for a grid that is not known here.
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
    takes = unsaid.keys() or config.keys() - {"set_alpha_to_one"}
    full = {**unsaid, **{key: value for key, value in config.items() if key in takes}}
    if name.startswith("FlowMatch") or full.get("prediction_type") == "flow_prediction":
        T: int = full.get("num_train_timesteps", 1000)
        if ends is None:
            _refuse_uneven(full)
            return Schedule.flow(T)
        return Schedule.flow(T, warp=_warp(full, ends))
    if "beta_schedule" not in full:
        raise InputError(f"scheduler config: {name} is neither a chain of betas nor a rectified flow")
    if (
        full.get("final_sigmas_type") == "sigma_min"
    ):  # the last step of DPM-Solver and its kin ends at level 0
        full["set_alpha_to_one"] = False
    return Schedule.from_config(full)


RESPACED = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas")


def _warp(config: Mapping[str, Any], ends: Ends) -> Warp:
    """The time shift that a flow's config says. Raises InputError for a grid that is respaced otherwise."""
    for key in RESPACED:
        if config.get(key):
            raise InputError(
                f"scheduler config: a rectified flow with {key}; only shifted grids are supported: use the "
                "checkpoint's original scheduler config"
            )
    dynamic = config.get("use_dynamic_shifting")
    solver = config.get("use_flow_sigmas")  # of DPM-Solver and its kin, whose table no family has
    return Warp(
        shift=config.get("flow_shift") or config.get("shift") or 1.0,
        across=(config["base_shift"], config["max_shift"]) if dynamic else None,
        between=(config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)),
        linear=config.get("time_shift_type") == "linear",
        ends="solver" if solver else "steps" if ends == "fitted" else ends,
        terminal=config.get("shift_terminal"),
        fitted=ends == "fitted",
    )


def _refuse_uneven(config: Mapping[str, Any]) -> None:
    """Raises InputError for a flow whose published grid is shifted or respaced: ours is even."""
    even = {"shift": 1.0, "flow_shift": 1.0, "shift_terminal": None}
    said = [key for key, value in even.items() if config.get(key, value) != value]
    said += [key for key in ("use_dynamic_shifting", *RESPACED) if config.get(key)]
    if said:
        raise InputError(
            f"scheduler config: a rectified flow with {said[0]} = {config[said[0]]}; only an even grid is supported "
            "yet (shift 1); use another checkpoint"
        )
