"""Gradient guidance on exact priors: with the exact classifier it samples the exact conditional."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.methods._augment import augmented
from scumble.methods.blended_diffusion import BlendedDiffusion, spherical
from scumble.methods.classifier_guidance import ClassifierGuidance, named
from scumble.methods.sampling import Sampling
from scumble.methods.sdg import SDG, gram, structure, style
from scumble.priors.exact import FinitePrior, GaussianPrior
from tests.conformance.judges import PlainClassifier, PlainClip

SIZE = (4, 8)
PICTURES = Noise(4, 6).like(torch.empty(6, 3, *SIZE, dtype=torch.float64)) / 3
CAPTIONS = ["a", "b", "b", "a", "b", "red"]


def finite(schedule: Schedule) -> FinitePrior:
    return FinitePrior(PICTURES, CAPTIONS, lambda prompt, caption: caption.startswith(prompt), schedule)


class ExactClassifier(PlainClassifier):
    """What share of the pictures that x_t may come from has each caption: p(y | x_t), exactly."""

    def __init__(self, schedule: Schedule, *, noisy: bool = True):
        super().__init__(noisy=noisy)
        self.schedule = schedule

    def log_prob(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        assert t is not None
        alpha, sigma = (c.to(x)[:, None] for c in self.schedule.at(t))
        fit = -((x[:, None] - alpha * PICTURES.to(x)) ** 2 / (2 * sigma**2)).sum((2, 3, 4))
        same = torch.tensor([[caption == name for caption in CAPTIONS] for name in self.classes])
        shares = torch.stack([torch.where(own, fit, -torch.inf).logsumexp(1) for own in same], 1)
        return shares - fit.logsumexp(1, keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [Schedule.scaled_linear(), Schedule.flow()], ids=["chain", "flow"])
def test_the_exact_classifier_makes_the_exact_conditional(schedule: Schedule) -> None:
    """eps - sigma grad log p(y | x_t) is the conditional model's own eps, so every state is its, too."""
    prior = finite(schedule)
    guided = ClassifierGuidance(scale=1, form="score", eta=0, steps=20)
    request = EditRequest(size=SIZE, target="a", seed=3, keep=("trajectory",))
    ours = guided(prior, replace(request, given={"classifier": ExactClassifier(schedule)}))
    theirs = Sampling(steps=20, guidance=1)(prior, request)
    if schedule.abar is not None:  # a flow starts at pure noise, where eps cannot say what x0 is
        for x, y in zip(ours.kept["trajectory"], theirs.kept["trajectory"], strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=2e-5)  # float32
    nearest = (ours.latent - PICTURES).square().sum((1, 2, 3)).argmin()
    assert CAPTIONS[int(nearest)] == "a"


@pytest.mark.slow
def test_the_mean_form_comes_to_the_same_as_steps_get_small() -> None:
    schedule = Schedule.scaled_linear()
    prior, given = finite(schedule), {"classifier": ExactClassifier(schedule)}
    off = []
    for steps in (25, 100):
        settings: dict[str, Any] = {"steps": steps, "strength": 0.6}
        request = EditRequest(
            image=PICTURES[:1], target="b", noise=Noise(2), keep=("trajectory",), given=given
        )
        mean = ClassifierGuidance(scale=1, **settings)(prior, request)
        score = ClassifierGuidance(scale=1, form="score", **settings)(prior, replace(request, noise=Noise(2)))
        off.append(
            max(
                float((x - y).abs().max())
                for x, y in zip(mean.kept["trajectory"], score.kept["trajectory"], strict=True)
            )
        )
    assert off[1] < 0.6 * off[0]


@pytest.mark.slow
def test_a_larger_scale_makes_the_class_surer() -> None:
    schedule = Schedule.scaled_linear()
    prior, classifier = GaussianPrior({"": 0.1}, 0.5, schedule), PlainClassifier()
    sure = []
    for scale in (0.0, 3.0, 30.0):
        method = ClassifierGuidance(scale=scale, label="red", steps=30)
        x = method(
            prior, EditRequest(image=torch.zeros(1, 3, *SIZE), given={"classifier": classifier})
        ).latent
        sure.append(float(classifier.log_prob(x)[0, 2]))
    assert sure[0] < sure[1] < sure[2]


@pytest.mark.parametrize("form", ["mean", "score"])
@pytest.mark.parametrize("make", [ClassifierGuidance, SDG, BlendedDiffusion])
def test_what_the_mask_keeps_is_kept(make: Callable[..., Any], form: str) -> None:
    prior = GaussianPrior({"": 0.1, "a": 0.5}, 0.5)
    image = Noise(1).like(torch.empty(1, 3, *SIZE, dtype=torch.float64)) / 2
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :3] = 1
    given = {"classifier": PlainClassifier(), "clip": PlainClip()}
    edit = make(steps=8, form=form)(prior, EditRequest(image=image, target="a", mask=mask, given=given))
    assert edit.raw[..., 3:].equal(image[..., 3:])
    assert not edit.raw[..., :3].allclose(image[..., :3])


def test_a_clip_of_clean_pictures_guides_through_the_model() -> None:
    """One evaluation per step, and the text comes nearer than without."""
    prior, clip = GaussianPrior({"": 0.1, "a": 0.5}, 0.5), PlainClip(noisy=False)
    image = torch.zeros(1, 3, *SIZE, dtype=torch.float64)
    found = []
    for weight in (0.0, 100.0):
        request = EditRequest(image=image, target="a", reference=image, given={"clip": clip})
        edit = SDG(steps=10, text_weight=weight, image_weight=0.0 if weight else 1e-9)(prior, request)
        assert edit.evaluations == 10
        found.append(float((clip.embed_image(edit.latent) * clip.embed_text(["a"])).sum()))
    assert found[1] > found[0] + 0.1


def test_style_knows_no_places_and_structure_does() -> None:
    maps = (Noise(1, 2).like(torch.empty(2, 5, 4, 4, dtype=torch.float64)),)
    moved = tuple(m.flip(-1) for m in maps)
    torch.testing.assert_close(style(maps, moved) / 1e10, torch.zeros(2, dtype=torch.float64))
    assert structure(maps, maps).equal(torch.zeros(2, dtype=torch.float64))
    assert bool((structure(maps, moved) < -0.1).all())
    torch.testing.assert_close(gram(maps[0]), gram(maps[0]).mT)


def test_the_spherical_distance_is_half_the_squared_angle() -> None:
    angle = torch.tensor([0.3, 1.2, 3.0], dtype=torch.float64)
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(3, 2)
    torch.testing.assert_close(spherical(a, torch.stack([angle.cos(), angle.sin()], 1)), angle**2 / 2)


def test_the_best_candidate_is_the_nearest_to_its_text() -> None:
    prior, clip = GaussianPrior({"": 0.1, "a": 0.5}, 0.5), PlainClip()
    image, mask = torch.zeros(2, 3, *SIZE, dtype=torch.float64), torch.ones(1, 1, *SIZE)
    request = EditRequest(image=image, target="a", mask=mask, given={"clip": clip})
    text = clip.embed_text(["a"])
    one, best = (
        spherical(clip.embed_image(BlendedDiffusion(steps=6, candidates=n)(prior, request).latent), text)
        for n in (1, 4)
    )
    assert bool((best <= one).all())
    assert bool((best < one).any())


def test_views_are_the_picture_and_others_near_it() -> None:
    y = torch.linspace(-1, 1, 16).expand(2, 3, 16, 16).contiguous().requires_grad_()
    views = augmented(y, 5, Noise(3, 2))
    assert views.shape == (10, 3, 16, 16)
    assert views[:2].equal(y)
    assert float((views - y.repeat(5, 1, 1, 1)).detach().abs().mean()) < 0.5
    assert float(views.detach().abs().max()) <= 1
    assert augmented(y[:1], 5, Noise(3))[1::1][:, 0].allclose(views[2::2][:, 0])
    (grad,) = torch.autograd.grad(views[2:].sum(), y)
    assert float(grad.abs().sum()) > 0
    assert augmented(y, 1, Noise(3, 2)) is y


def test_classes_are_named_by_whole_words_longest_first() -> None:
    classes = ("red", "circle", "red background", "ring")
    assert named("a Red circle on a red background", classes) == ["red background", "circle", "red"]
    assert named("a string on a red background", classes) == ["red background"]


def test_bad_input_is_said() -> None:
    prior, image = GaussianPrior({"": 0.1, "a": 0.5, "c": 0.2}, 0.5), torch.zeros(1, 3, *SIZE)
    given = {"classifier": PlainClassifier(), "clip": PlainClip()}
    request = EditRequest(image=image, target="a", given=given)
    with pytest.raises(
        InputError, match="eta: 0; form='mean' scales the gradient by the variance .* set form='score'"
    ):
        ClassifierGuidance(eta=0)
    with pytest.raises(InputError, match=r"no class 'rod' \(did you mean 'red'\?\); it has a, b, red"):
        ClassifierGuidance(label="rod")(prior, request)
    with pytest.raises(
        InputError, match="the target names none of the classes of .* set label to one of a, b, red"
    ):
        ClassifierGuidance()(prior, replace(request, target="c"))
    with pytest.raises(InputError, match="a and b exclude each other; ask for one of them"):
        ClassifierGuidance(label="a, b")(prior, request)
    with pytest.raises(InputError, match="classifier: PlainClip is not a Classifier; load one with"):
        ClassifierGuidance()(prior, replace(request, given={"classifier": PlainClip()}))
    with pytest.raises(InputError, match="text_weight: 0, and there is no reference picture"):
        SDG(text_weight=0)(prior, request)
    with pytest.raises(InputError, match="mask: it is black everywhere, so nothing may change"):
        BlendedDiffusion()(prior, replace(request, mask=torch.zeros(1, 1, *SIZE)))
    prior.card = replace(prior.card, capabilities=frozenset({"text"}))
    with pytest.raises(
        InputError, match="needs a model with gradient, which 'gaussian' does not have; load it unquant"
    ):
        BlendedDiffusion()(prior, replace(request, mask=torch.ones(1, 1, *SIZE)))
    with pytest.raises(InputError, match="judges clean pictures, so its gradient goes through the model"):
        SDG(steps=5)(prior, replace(request, given={"clip": PlainClip(noisy=False)}))


def test_without_a_picture_strength_has_nothing_to_keep() -> None:
    """The start is noise, so all moves are made."""
    prior, steps = finite(Schedule.scaled_linear()), list[float]()
    method = ClassifierGuidance(steps=5, strength=0.4, form="score", eta=0)
    classifier = ExactClassifier(prior.schedule)
    request = EditRequest(size=SIZE, target="a", given={"classifier": classifier})
    method(prior, request, lambda step: steps.append(step.t))
    assert steps == [t for t, _ in prior.schedule.grid(5)]
