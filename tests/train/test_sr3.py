"""The x2 stage: its pairs, its levels, its augmentation, and a training that goes on where it stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.networks.sr3 import schedule as schedule_of_stage
from scumble.networks.sr3 import upsampled
from scumble.train import sr3
from scumble.train.sr3 import SR3Recipe

SMALL = SR3Recipe(minutes=0, bank=3, crop=16, batch=2, widths=(8, 8), blocks=1)


def test_a_bank_has_each_scene_twice_and_does_not_depend_on_its_workers() -> None:
    high, low = sr3.bank(3, workers=0)
    again, _ = sr3.bank(3, workers=1)
    assert high.shape == (3, 3, 256, 256)
    assert low.shape == (3, 3, 128, 128)
    assert torch.equal(high, again)
    box = F.avg_pool2d(high.float(), 2)
    assert (box - low.float()).square().mean().sqrt() < 8  # the same scene, not another one


def test_levels_lie_between_neighbouring_steps_of_the_schedule() -> None:
    torch.manual_seed(0)
    schedule = schedule_of_stage()
    nu = sr3.levels(schedule, 4000, torch.device("cpu"))
    assert schedule.abar is not None
    assert float(schedule.abar[-1].sqrt()) <= nu.min()
    assert nu.max() <= 1
    steps = (nu[:, None] < schedule.abar.sqrt()).sum(1).float()
    assert abs(steps.mean() - 999.5) < 50  # every step is as likely


def test_crops_of_both_sizes_show_the_same() -> None:
    torch.manual_seed(0)
    high, low = sr3.bank(4)
    for given in (low, None):
        big, small = sr3.hard_crops(high, given, 8, 32)
        assert big.shape == (8, 3, 32, 32)
        assert small.shape == (8, 3, 16, 16)
        away = (upsampled(small) - big).square().mean((1, 2, 3))
        other = (upsampled(small.roll(1, 0)) - big).square().mean((1, 2, 3))
        assert away.mean() < 0.3 * other.mean()


def test_a_blur_is_the_published_gaussian_and_keeps_what_is_plain() -> None:
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 1
    taps = torch.exp(-0.5 * torch.tensor([1.0, 0.0, 1.0]) / 0.5**2)
    kernel = taps[:, None] * taps / taps.sum() ** 2
    assert torch.allclose(sr3.blurred(point, torch.full((1, 1, 1, 1), 0.5))[0, 0, 2:5, 2:5], kernel)
    plain = torch.full((1, 3, 8, 8), 0.3)
    assert torch.allclose(sr3.blurred(plain, torch.full((1, 1, 1, 1), 0.6)), plain)


def test_augmentation_tells_the_level_of_its_noise() -> None:
    torch.manual_seed(0)
    small = torch.zeros(400, 3, 16, 16)
    noisy, level = sr3.augmented(small, replace(SMALL, blurred=0))
    assert torch.allclose(noisy.std((1, 2, 3)), level, atol=0.05)
    assert 0.65 < (level == 0).float().mean() < 0.85


def test_a_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    high, low = sr3.bank(SMALL.bank)
    sr3.train_stage(high, low, SMALL, tmp_path)
    sr3.train_stage(high, low, replace(SMALL, minutes=0), tmp_path)
    state = torch.load(tmp_path / "sr3.resume.pt", weights_only=True)
    assert state["step"] == 2
    with pytest.raises(InputError, match="crop: 16 then, 32 now"):
        sr3.train_stage(high, low, replace(SMALL, crop=32), tmp_path)
