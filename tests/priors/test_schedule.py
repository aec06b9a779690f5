"""The schedules that checkpoints' scheduler configs stand for, against diffusers' own tables."""

import diffusers
import pytest
import torch

from scumble.core.errors import InputError
from scumble.priors._schedule import from_scheduler

SOLVERS = ["DDIM", "DDPM", "PNDM", "EulerDiscrete", "DPMSolverMultistep", "UniPCMultistep", "DEISMultistep"]


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
