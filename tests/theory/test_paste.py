"""What must stay: at which level it is put back, with which noise, and how it ends."""

import torch

from scumble.core.masks import blend
from scumble.core.noise import Noise, Tape
from scumble.core.schedule import Schedule
from scumble.loops.paste import Paste

from .common import normal

SCHEDULE = Schedule.linear()
Z, X, EPS = normal(2, 3, 4, 6), normal(2, 3, 4, 6, seed=2), normal(2, 3, 4, 6, seed=3)
MASK = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
MASK[..., 3:] = 1
P = SCHEDULE.predict(X, 300, x0=X)


def test_what_stays_stands_at_the_level_of_x() -> None:
    for level, at in (("next", 200), ("current", 300)):
        pasted = Paste(SCHEDULE, Z, MASK, EPS, level)(X, P, 300, 200)
        assert torch.equal(pasted, blend(SCHEDULE.mix(Z, EPS, at), X, MASK))
        assert torch.equal(pasted[..., :3], SCHEDULE.mix(Z, EPS, at)[..., :3])


def test_at_the_end_it_is_the_input_bit_for_bit_and_draws_nothing() -> None:
    paste = Paste(SCHEDULE, Z, MASK, Tape([]), end=-1)
    assert torch.equal(paste(X, P, 10, -1)[..., :3], Z[..., :3])


def test_without_an_end_the_noise_of_the_last_level_remains() -> None:
    pasted = Paste(SCHEDULE, Z, MASK, EPS, "current")(X, P, 0, -1)
    torch.testing.assert_close(pasted[..., :3], SCHEDULE.mix(Z, EPS, 0)[..., :3])


def test_fresh_noise_is_drawn_at_every_paste_and_one_draw_is_kept() -> None:
    fresh, fixed = Paste(SCHEDULE, Z, MASK, Noise(1, 2)), Paste(SCHEDULE, Z, MASK, EPS)
    assert not torch.equal(fresh.at(X, 200), fresh.at(X, 200))
    assert torch.equal(fixed.at(X, 200), fixed.at(X, 200))


def test_without_a_mask_nothing_is_pasted_or_drawn() -> None:
    assert Paste(SCHEDULE, Z, None, Tape([])).at(X, 200) is X
