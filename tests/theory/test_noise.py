"""Where the draws come from."""

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.noise import Noise, Tape


def test_a_picture_draws_the_same_whatever_its_companions() -> None:
    batch, alone = Noise(10, pictures=3), Noise(12)
    for _ in range(3):
        assert torch.equal(batch.times(50, 949, 3)[2:], alone.times(50, 949, 1))
        assert torch.equal(batch.like(torch.empty(3, 4, 5, 6))[2:], alone.like(torch.empty(1, 4, 5, 6)))


def test_rows_of_one_picture_share_its_draws() -> None:
    noise = Noise(1)
    draw = noise.like(torch.empty(3, 4, 5, 6))
    assert torch.equal(draw[0], draw[2])
    assert len(set(noise.times(0, 1000, 3).tolist())) == 1
    with pytest.raises(InputError, match="2 pictures cannot give 3 rows"):
        Noise(1, pictures=2).like(torch.empty(3, 4, 5, 6))


def test_draws_are_of_single_precision_and_follow_x() -> None:
    double, single = (Noise(1).like(torch.empty(1, 2, 3, 4, dtype=d)) for d in (torch.float64, torch.float32))
    assert double.dtype == torch.float64
    assert torch.equal(double, single.double())


def test_times_cover_their_range() -> None:
    noise = Noise(0)
    drawn = {int(noise.times(3, 7, 1)) for _ in range(200)}
    assert drawn == {3, 4, 5, 6}


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    Noise(5).like(torch.empty(1, 2, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tape_replays_in_order_and_refuses_the_rest() -> None:
    t, eps = torch.tensor([60, 70]), torch.ones(2, 3, 4, 4)
    tape = Tape([t, eps, t, eps])
    assert torch.equal(tape.times(50, 949, 2), t)
    assert torch.equal(tape.like(torch.empty(2, 3, 4, 4)), eps)
    with pytest.raises(InputError, match="times in 100"):
        tape.times(100, 949, 2)
    with pytest.raises(InputError, match="asked for"):
        tape.like(torch.empty(2, 3, 4, 5))
    with pytest.raises(InputError, match="used up"):
        tape.like(torch.empty(2, 3, 4, 4))
