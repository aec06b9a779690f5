"""Pix2Pix-Zero's parts: noise made white, directions out of sentences, and attention that is compared."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scumble import artifacts
from scumble.artifacts.direction import TEMPLATES, Direction
from scumble.attention.compare import Compare
from scumble.core.control import Now, Row, Site
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.types import Time
from scumble.loops.regularise import Regularisation, auto_correlation, divergence, regularised
from scumble.priors.exact import GaussianPrior

PRIOR = GaussianPrior({"": 0.0, "a cat": 0.5, "cats": 0.25, "a dog": -0.5, "dogs": -0.25, "fog": 9.0})
WHITE = Noise(7, 2).like(torch.empty(2, 4, 16, 16))
SITE = Site("cross", "mid", 0, 1, 0)


def shifted(side: int) -> Tensor:
    return torch.full((2,), side // 4)


def test_white_noise_has_neither_correlation_nor_divergence() -> None:
    smooth = torch.nn.functional.avg_pool2d(WHITE, 5, 1, 2)
    assert (
        auto_correlation(WHITE, shifted)
        < auto_correlation(smooth * 5, lambda side: torch.ones(2, dtype=torch.int64)) / 10
    ).all()
    assert (divergence(WHITE).abs() < 0.1).all()
    assert (divergence(2 * WHITE) > 1).all()
    assert (divergence(WHITE + 2) > 1).all()


def test_correlation_is_what_a_rolled_picture_has_in_common_with_itself() -> None:
    """Stripes of period 4 along one axis: 1 at shifts of 4, -1 at 2, and 1 always along the other."""
    stripes = torch.tensor([1.0, 1, -1, -1]).repeat(2).expand(1, 1, 8, 8)
    for shift, along in ((4, 1.0), (2, 1.0), (1, 0.0)):
        assert float(auto_correlation(stripes, lambda side, r=shift: torch.tensor([r]))) == pytest.approx(
            1 + along
        )


@pytest.mark.slow
def test_what_a_network_says_is_made_white_picture_by_picture() -> None:
    schedule, t = Schedule.scaled_linear(), torch.tensor([500, 500])

    def says(x_t: Tensor, t: Time, at: Time | None = None) -> Prediction:
        return schedule.predict(x_t, t, eps=0.5 * x_t + 0.3)

    values = Regularisation(kl=200, rounds=20)
    eps = regularised(says, schedule, Noise(1, 2), values)(WHITE, t, None).eps
    assert (divergence(eps).abs() < divergence(0.5 * WHITE + 0.3).abs() / 10).all()
    for i in range(2):
        alone = regularised(says, schedule, Noise(1 + i), values)(WHITE[i : i + 1], t[:1], None).eps
        assert torch.allclose(alone, eps[i : i + 1], atol=1e-6)


def test_a_direction_is_the_difference_of_the_banks_means() -> None:
    found = Direction(source=("a cat", "cats"), target=("a dog", "dogs", "dogs")).tokens(PRIOR)
    assert torch.allclose(found, torch.full((1, 1, 3), -1 / 3 - 0.375, dtype=torch.float64))
    many = Direction(source=("a cat",) * 200, target=("a dog",) * 3).tokens(PRIOR)
    assert torch.allclose(many, torch.full((1, 1, 3), -1.0, dtype=torch.float64))


def test_sentences_that_a_prior_does_not_know_are_left_out_aloud() -> None:
    from copy import copy
    from dataclasses import replace

    prior = copy(PRIOR)
    prior.card = replace(PRIOR.card, words=frozenset({"a", "cat", "cats", "dog", "dogs"}))
    with pytest.warns(
        UserWarning, match="1 of 2 target sentences have words that model 'gaussian' does not know"
    ):
        found = Direction(source=("a cat",), target=("a dog", "fog")).tokens(prior)
    assert torch.allclose(found, torch.full((1, 1, 3), -1.0, dtype=torch.float64))
    with pytest.raises(InputError, match="knows none of the target sentences, such as 'fog'"):
        Direction(source=("a cat",), target=("fog",)).tokens(prior)


def test_directions_out_of_words_files_and_folders(tmp_path: Path) -> None:
    cats, dogs = tmp_path / "cats.txt", tmp_path / "dogs"
    cats.write_text("a cat\n\n  cats \n")
    dogs.mkdir()
    (dogs / "1.txt").write_text("a dog\n")
    (dogs / "2.txt").write_text("dogs\n")
    (dogs / "3.png").write_text("no caption")
    assert artifacts.given("direction", f"{cats},{dogs}") == Direction(
        source=("a cat", "cats"), target=("a dog", "dogs")
    )
    words = artifacts.given("direction", "cat, dog")
    assert words == Direction(
        source=tuple(t.format("cat") for t in TEMPLATES), target=tuple(t.format("dog") for t in TEMPLATES)
    )
    assert artifacts.digest(words) != artifacts.digest(Direction(source=("cat",), target=("dog",)))
    empty = tmp_path / "empty"
    empty.mkdir()
    for text, says in {
        "cat": "write it as A,B",
        "cat,": "write it as A,B",
        f"{cats},{tmp_path / 'fox.txt'}": "no such file",
        f"{cats},{empty}": "contains no sentences",
    }.items():
        with pytest.raises(InputError, match=says):
            artifacts.given("direction", text)


def test_maps_are_compared_with_the_sources_and_moving_the_queries_brings_them_nearer() -> None:
    compare, noise = Compare(), Noise(3)
    heads = torch.empty(1, 2, 4, 8)
    q, k, v = (noise.like(heads.expand(2, -1, -1, -1)) for _ in range(3))
    t = torch.zeros(2)

    def call(role: str, q: Tensor) -> Tensor:
        rows: tuple[Row, ...] = ((role, "null"), (role, "text"))
        return compare.attend(SITE, q, k, v, Now(t, t, rows, (2, 2)))

    assert torch.allclose(
        call("source", q), torch.nn.functional.scaled_dot_product_attention(q, k, v), atol=1e-6
    )
    compare.measure()
    call("target", q)
    assert float(compare.loss()) == 0
    moved = (q + noise.like(q)).requires_grad_()
    compare.measure()
    call("target", moved)
    before = compare.loss()
    (grad,) = torch.autograd.grad(before.sum(), moved)
    compare.measure()
    call("target", moved.detach() - 0.5 * grad)
    assert float(compare.loss()) < float(before.detach())
