"""DiffusionCLIP and Asyrp: what tuned weights and trained directions do, and how they are trained."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scumble.artifacts.h_space import HSpaceDirection
from scumble.artifacts.tuned import TunedWeights
from scumble.core.errors import InputError
from scumble.core.judges import Embedder
from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.loops.cycle import levels
from scumble.methods.asyrp import Asyrp
from scumble.methods.diffusionclip import DiffusionCLIP
from scumble.networks.delta import DeltaBlock
from scumble.priors.exact import GaussianPrior
from scumble.priors.pixel import PixelPrior
from scumble.tuning import losses
from scumble.tuning.finetune import Finetune, Finetuning
from scumble.tuning.goal import Goal, learn
from scumble.tuning.h_space import HSpaceTrainer, HSpaceTraining
from scumble.tuning.training import Walk
from tests.conformance.trained import direction

TINY_DDPM = Path(__file__).parents[1] / "goldens/tiny-ddpm"


class Colours(Embedder):
    """Sees the mean colour of a picture; reads the words of the three primary ones."""

    id, hash, space, noisy = "colours", "", "pixels", False
    words = ("red", "green", "blue")

    def check(self, prior: Prior) -> None: ...

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        return torch.nn.functional.normalize((x + 1.5).mean((2, 3)), dim=-1)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        if any(prompt not in self.words for prompt in prompts):
            raise InputError(f"clip: cannot read {prompts}")
        return torch.eye(3, dtype=torch.float64)[[self.words.index(prompt) for prompt in prompts]]


# The edits


def moved(prior: GaussianPrior, shift: float) -> TunedWeights:
    """The weights of a Gaussian whose mean lies elsewhere."""
    values = {name: mean + shift for name, mean in prior.parameters().items()}
    return TunedWeights(prior=prior.card.id, prior_hash=prior.card.hash, values=values)


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
def test_diffusionclip_moves_one_gaussian_to_the_other(strength: float) -> None:
    """Up the flow of N(mu, s^2), down that of N(mu', s^2), and one step from the lowest level: with DDIM's order 1."""
    mu, s, shift = 0.1, 0.5, 0.4
    prior = GaussianPrior({"": mu}, s)
    x = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    exact, there = x, mu + strength * shift
    for mean, (low, high) in ((mu, (0, 400)), (there, (400, 0))):
        (a, v), (b, w) = (
            (alpha, alpha**2 * s**2 + sigma**2) for alpha, sigma in map(prior.schedule.at, (low, high))
        )
        exact = b * mean + (exact - a * mean) * (w / v).sqrt()
    alpha, sigma = prior.schedule.at(0)
    exact = there + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (exact - alpha * there)
    error: list[float] = []
    for steps in (51, 101, 201):
        method = DiffusionCLIP(start=400, steps=steps, inversion_steps=steps, strength=strength)
        edit = method(prior, EditRequest(image=x, given={"tuned": moved(prior, shift)}))
        error.append(float((edit.raw - exact).abs().max()))
    assert all(1.8 < before / after < 2.2 for before, after in pairwise(error)), error


def test_weights_of_another_model_are_refused() -> None:
    prior, other = GaussianPrior({"": 0.1}), GaussianPrior({"": 0.2})
    request = EditRequest(image=torch.zeros(1, 3, 4, 4), given={"tuned": moved(other, 0.4)})
    with pytest.raises(InputError, match="tuned: tuned from model 'gaussian'"):
        DiffusionCLIP()(prior, request)


@pytest.fixture(scope="module")
def pixel() -> PixelPrior:
    return PixelPrior.from_pretrained(TINY_DDPM)


SHORT = Asyrp(start=900, steps=4, inversion_steps=3, boost=0)
PICTURE = Noise(1).like(torch.zeros(1, 3, 16, 16)) / 3


def asyrp(prior: Prior, method: Asyrp, given: HSpaceDirection) -> Tensor:
    return method(prior, EditRequest(image=PICTURE, given={"direction": given})).raw


def test_an_untrained_direction_changes_nothing(pixel: PixelPrior) -> None:
    """Not even where it is exaggerated: it equals strength 0."""
    given = direction(pixel)
    (trained,) = given.attributes
    empty = trained.weights | {"out.weight": torch.zeros_like(trained.weights["out.weight"])}
    blank = HSpaceDirection(
        prior=given.prior,
        prior_hash=given.prior_hash,
        attributes=(type(trained)(source="a", target="b", steps=4, weights=empty),),
    )
    none = asyrp(pixel, Asyrp(**{**vars(SHORT), "strength": 0.0}), given)
    assert torch.allclose(asyrp(pixel, SHORT, blank), none, atol=1e-5)
    assert not torch.allclose(asyrp(pixel, SHORT, given), none, atol=1e-3)


def test_attributes_add_up(pixel: PixelPrior) -> None:
    """Two halves of one are the one; one and its negative are none; without weights each counts 1 / sqrt(2)."""
    one = direction(pixel)
    halves, none = (HSpaceDirection.joined([one, one], weights) for weights in ((0.5, 0.5), (1.0, -1.0)))
    assert torch.allclose(asyrp(pixel, SHORT, halves), asyrp(pixel, SHORT, one), atol=1e-4)
    plain = asyrp(pixel, Asyrp(**{**vars(SHORT), "strength": 0.0}), one)
    assert torch.allclose(asyrp(pixel, SHORT, none), plain, atol=1e-4)
    weights = [each.weight for each in HSpaceDirection.joined([one, one], (None, None)).attributes]
    assert weights == pytest.approx([0.5**0.5] * 2)


def test_directions_of_other_models_are_refused(pixel: PixelPrior) -> None:
    one = direction(pixel)
    other = HSpaceDirection(prior="other", prior_hash="1" * 8, attributes=one.attributes)
    with pytest.raises(InputError, match="direction: trained on model 'other'"):
        asyrp(pixel, SHORT, other)
    with pytest.raises(InputError, match="name directions of one model"):
        HSpaceDirection.joined([one, other], (None, None))


def test_a_file_of_another_network_is_refused(pixel: PixelPrior) -> None:
    one = direction(pixel)
    broken = type(one.attributes[0])(source="a", target="b", steps=4, weights={"out.bias": torch.zeros(3)})
    wrong = HSpaceDirection(prior=one.prior, prior_hash=one.prior_hash, attributes=(broken,))
    with pytest.raises(InputError, match="direction: its network cannot be used"):
        asyrp(pixel, SHORT, wrong)


def test_levels_of_the_way_up_and_down() -> None:
    chain, flow = Schedule.linear(), Schedule.flow()
    assert levels(chain, 100, 4) == [0, 33, 66, 100]
    assert levels(flow, 100, 4) == [1, 33, 66, 100]
    with pytest.raises(InputError, match="this model's levels go from 1 to 999"):
        levels(chain, 1000, 4)
    with pytest.raises(InputError, match="there are only 4 levels up to 3"):
        levels(chain, 3, 5)


# The loss


def test_the_directional_loss_compares_the_two_moves() -> None:
    goal = Goal.of(Colours(), "red", "blue")
    before, after = torch.eye(3, dtype=torch.float64)[[0]], torch.eye(3, dtype=torch.float64)[[2]]
    aligned, opposite = (
        losses.directional(a, b, goal.direction) for a, b in ((before, after), (after, before))
    )
    assert float(aligned) == pytest.approx(0, abs=1e-6)
    assert float(opposite) == pytest.approx(2, abs=1e-6)
    assert float(losses.penalty(aligned)) == pytest.approx(0, abs=1e-6)
    assert float(losses.penalty(opposite)) > 10
    still = before.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.directional(before, still, goal.direction).sum(), still)
    assert bool(gradient.isfinite().all())  # where nothing has moved yet


def test_texts_that_are_the_same_to_the_clip_are_refused() -> None:
    with pytest.raises(InputError, match="to colours, 'red' is the same as 'red'"):
        Goal.of(Colours(), "red", "red")
    with pytest.raises(InputError, match="cannot read"):
        Goal.of(Colours(), "red", "violet")


# The trainings


def finetuning(saving: bool) -> Walk:
    prior = GaussianPrior({"": 0.0}, 0.5)
    recipe = Finetune(
        steps=3, inversion_steps=3, saving=saving, epochs=2, rate=0.02, part="all", identity=0.1
    )
    pictures = [Noise(i).like(torch.zeros(1, 3, 4, 4, dtype=torch.float64)) / 2 for i in range(3)]
    goal = Goal.of(Colours(), "red", "blue")
    return Finetuning(prior, goal, learn(prior, goal, pictures, recipe.up(prior)), recipe)


def h_space(pixel: PixelPrior) -> Walk:
    recipe = HSpaceTraining(start=900, steps=4, inversion_steps=3, rate=0.01, batch=2)
    pictures = [Noise(i).like(torch.zeros(1, 3, 16, 16)) / 2 for i in range(3)]
    goal = Goal.of(Colours(), "red", "blue")
    lessons = learn(pixel, goal, pictures, recipe.up(pixel))
    return HSpaceTrainer(pixel, goal, lessons, DeltaBlock.drawn(32, Noise(7)), recipe)


@pytest.mark.parametrize("kind", ["full", "saving", "h_space"])
def test_a_resumed_training_is_the_same_to_the_last_bit(kind: str, pixel: PixelPrior) -> None:
    make: Callable[[], Walk] = (
        (lambda: h_space(pixel)) if kind == "h_space" else (lambda: finetuning(kind == "saving"))
    )
    whole, first, second = make(), make(), make()
    shown = [whole.advance() for _ in range(whole.steps)]
    stop = whole.steps // 2
    for _ in range(stop):
        first.advance()
    second.resume(first.state())
    assert second.done == stop
    assert [second.advance() for _ in range(second.steps - second.done)] == shown[stop:]
    theirs = second.result()
    assert all(torch.equal(weight, theirs[name]) for name, weight in whole.result().items())


@pytest.mark.parametrize("saving", [False, True])
def test_fine_tuning_moves_the_mean_as_the_text_says(saving: bool) -> None:
    training = finetuning(saving)
    shown = [training.advance() for _ in range(training.steps)]
    red, _, blue = training.result()["mean[]"].flatten().tolist()
    assert blue > 0 > red
    assert shown[-1]["clip"] < shown[0]["clip"]


def test_training_a_direction_lowers_its_loss_and_leaves_the_model_alone(pixel: PixelPrior) -> None:
    before = {name: weight.clone() for name, weight in pixel.parameters().items()}
    training = h_space(pixel)
    moves = len(training.pairs)
    shown = [training.advance()["clip"] for _ in range(training.steps)]
    again = h_space(pixel)
    again.delta.load_state_dict(dict(training.result()))  # type: ignore[attr-defined]
    assert again.advance()["clip"] < shown[0]
    assert training.steps == 2 * moves
    assert all(torch.equal(weight, before[name]) for name, weight in pixel.parameters().items())
    assert all(weight.grad is None for weight in pixel.parameters().values())


def test_a_training_without_a_loss_is_refused() -> None:
    with pytest.raises(InputError, match="clip, l1: all 0"):
        HSpaceTraining(clip=0.0, l1=0.0)
