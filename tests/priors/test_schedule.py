"""The schedules that checkpoints' scheduler configs stand for, against diffusers' own tables."""

import math
from functools import partial
from typing import Any

import diffusers
import pytest
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scumble.core.errors import InputError
from scumble.core.grids import upward
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.descend import Uniform, descend
from scumble.loops.invert import invert
from scumble.priors._schedule import from_scheduler

SOLVERS = ["DDIM", "DDPM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DEISMultistep"]


@pytest.mark.parametrize("tokens", [256, 1020, 4096, 9216])
@pytest.mark.parametrize("steps", [4, 28, 50])
def test_flux2_fits_its_shift_to_canvas_and_steps(tokens: int, steps: int) -> None:
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": True}
    warp = from_scheduler(config, ends="fitted").on(tokens).warp
    assert warp is not None
    assert math.log(warp.strength(steps)) == pytest.approx(compute_empirical_mu(tokens, steps), abs=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("betas", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_levels_are_the_schedulers_whatever_the_solver(solver: str, betas: str):
    name = f"{solver}Scheduler"
    config = {"_class_name": name, "beta_schedule": betas, "beta_start": 0.001, "beta_end": 0.01}
    theirs = getattr(diffusers, name).from_config(config)
    schedule = from_scheduler(config)
    alpha, sigma = schedule.at(torch.arange(1000))
    torch.testing.assert_close(alpha.flatten() ** 2, theirs.alphas_cumprod.double(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))


def test_a_beta_table_of_the_checkpoints_own():
    config = {"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.2, 0.5]}
    alpha, _ = from_scheduler(config).at(torch.arange(3))
    torch.testing.assert_close(alpha.flatten() ** 2, torch.tensor([0.9, 0.72, 0.36], dtype=torch.float64))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("offset", [0, 1])
def test_the_grid_is_the_checkpoints(spacing: str, offset: int):
    config = {"_class_name": "DDIMScheduler", "timestep_spacing": spacing, "steps_offset": offset}
    theirs = diffusers.DDIMScheduler.from_config(config)
    theirs.set_timesteps(7)
    assert [t for t, _ in from_scheduler(config).grid(7)] == theirs.timesteps.tolist()


@pytest.mark.parametrize(("solver", "end"), [("DDIM", -1), ("PNDM", 0)])
def test_what_the_config_leaves_unsaid_is_its_classs_default(solver: str, end: int):
    (*_, (_, last)) = from_scheduler({"_class_name": f"{solver}Scheduler"}).grid(10)
    assert last == end


def test_a_solver_whose_own_dependencies_are_absent_is_no_obstacle():
    config = {
        "_class_name": "LMSDiscreteScheduler",
        "beta_schedule": "linear",
        "beta_start": 0.1,
        "beta_end": 0.1,
    }
    alpha, _ = from_scheduler({**config, "num_train_timesteps": 2}).at(torch.arange(2))
    torch.testing.assert_close(alpha.flatten() ** 2, torch.tensor([0.9, 0.81], dtype=torch.float64))


def test_a_flow_is_recognised():
    schedule = from_scheduler({"_class_name": "FlowMatchEulerDiscreteScheduler"})
    alpha, sigma = schedule.at(torch.tensor([250.0]))
    assert (float(alpha), float(sigma)) == (0.75, 0.25)
    assert schedule.prediction == "flow"


def test_keys_that_the_class_does_not_take_are_ignored():
    """SDXL's own config: `set_alpha_to_one` beside a solver that ends clean."""
    config = {"_class_name": "EulerDiscreteScheduler", "set_alpha_to_one": False, "beta_schedule": "linear"}
    assert from_scheduler(config).last is None
    assert from_scheduler({**config, "_class_name": "PNDMScheduler"}).last == 0
    low = {"_class_name": "DPMSolverMultistepScheduler", "final_sigmas_type": "sigma_min"}
    assert (from_scheduler(low).last, from_scheduler({**low, "final_sigmas_type": "zero"}).last) == (0, None)


def test_a_flow_with_an_even_grid_is_read():
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0, "use_dynamic_shifting": False}
    assert from_scheduler(config).grid(2) == [(1000.0, 500.0), (500.0, 0)]


@pytest.mark.parametrize(
    "key",
    [{"shift": 3.0}, {"use_dynamic_shifting": True}, {"shift_terminal": 0.02}, {"use_karras_sigmas": True}],
)
def test_a_flow_with_another_grid_is_refused(key: dict[str, object]):
    with pytest.raises(InputError, match=f"a rectified flow with {next(iter(key))} = .*only an even grid"):
        from_scheduler({"_class_name": "FlowMatchEulerDiscreteScheduler", **key})


@pytest.mark.parametrize("steps", [1, 4, 28])
@pytest.mark.parametrize(
    "config",
    [
        {"shift": 3.0},
        {"shift": 1.0},
        {"use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02},
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
    ],
    ids=["static", "even", "dynamic", "terminal", "linear"],
)
@pytest.mark.parametrize("ends", ["steps", "table"])
def test_the_grid_of_a_flow_is_the_schedulers(config: dict[str, object], steps: int, ends: str):
    """Also twice shifted, as that of Stable Diffusion 3."""
    if steps == 1 and "shift_terminal" in config:
        pytest.skip("the scheduler divides by zero")
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**config)
    said = {"_class_name": "FlowMatchEulerDiscreteScheduler", **config}
    schedule = from_scheduler(said, ends=ends).on(600)
    mu = None
    if config.get("use_dynamic_shifting"):
        told = theirs.config
        mu = calculate_shift(
            600, told.base_image_seq_len, told.max_image_seq_len, told.base_shift, told.max_shift
        )
    sigmas = [1 - k / steps for k in range(steps)] if ends == "steps" else None
    theirs.set_timesteps(steps, mu=mu, sigmas=sigmas)
    assert [t for t, _ in schedule.grid(steps)] == pytest.approx(theirs.timesteps.tolist(), rel=1e-5)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"_class_name": "NoSuchScheduler"}, "NoSuchScheduler is not a scheduler"),
        ({"_class_name": "EDMEulerScheduler"}, "neither a chain of betas nor a rectified flow"),
        ({"_class_name": "DDIMScheduler", "prediction_type": "noise"}, "prediction type 'noise'"),
        ({"_class_name": "DDIMScheduler", "beta_schedule": "wavy"}, "beta schedule 'wavy'"),
    ],
)
def test_what_we_cannot_read_is_refused(config: dict[str, object], wrong: str):
    with pytest.raises(InputError, match=wrong):
        from_scheduler(config)


class NoDoubles(TorchDispatchMode):
    """Fails at every float64 tensor off the CPU: Apple's devices have none. "meta" stands for such a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            assert not (isinstance(x, torch.Tensor) and x.is_meta and x.dtype == torch.float64), func
        return out


@pytest.mark.parametrize("schedule", [Schedule.scaled_linear(), Schedule.flow()], ids=["chain", "flow"])
def test_double_precision_stays_on_the_cpu(schedule: Schedule, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scumble.loops.descend.check_finite", lambda *_: None)  # such a device has no values
    x = torch.empty(2, 4, 8, 8, device="meta")
    t = torch.tensor([500, 20])
    pairs = schedule.grid(4)

    def denoise(x_t: torch.Tensor, t: torch.Tensor, at: torch.Tensor | None = None) -> Prediction:
        return schedule.predict(x_t, t if at is None else at, eps=x_t)

    with NoDoubles():
        with pytest.raises(AssertionError):
            torch.zeros(1, dtype=torch.float64).to("meta")
        schedule.mix(x, x, t)
        for end in ("x0", "eps", "v", "flow"):
            schedule.predict(x, t, **{end: x})
        schedule.posterior(t, t - 10, "learned_range", x)
        for loop in (partial(ddim, eta=0.5), ddpm):
            assert loop(denoise, x, pairs, schedule, noise=Noise(0, 2)).is_meta
        assert invert(denoise, x, upward(pairs), schedule).is_meta
        z = descend(lambda z, t, noise: denoise(z, t).eps, x, Uniform(2, 50, 900, 0.1), Noise(0, 2))
        assert z.is_meta
