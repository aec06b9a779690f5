"""The conformance kit serves methods of every shape: small ones that need what ours do not, and ones that lie."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from scumble.core.guidance import steered
from scumble.core.job import Job
from scumble.core.masks import blend
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param
from scumble.core.types import Latent, Time
from scumble.loops import steps
from scumble.loops.ddim import ddim
from scumble.priors.exact import GaussianPrior
from scumble.testing import check_method

TOY = Paper(title="A toy", arxiv="", bibtex="")
PRIOR = GaussianPrior({"": 0.1, "a": (0.6, -0.2, 0.0), "b": (-0.3, 0.4, 0.9)}, 0.5)


@dataclass(frozen=True, kw_only=True)
class Inpaint(Method):
    """RePaint in miniature: it needs a mask, and goes up again in time."""

    paper: ClassVar[Paper] = TOY
    needs: ClassVar[Needs] = Needs(target=True, mask=True)
    count: int = param(6, ge=1, try_=5, help="steps of the grid")
    jumps: int = param(2, ge=1, try_=3, help="how often each step is taken")

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job, schedule = Job(self, prior, request, on_step), prior.schedule
        z, denoise, watch = job.encode(), job.guide(2.0), job.watch()
        mask, pairs, x, k = job.mask(z), schedule.grid(self.count), job.noise.like(z), 0
        for t, s in pairs:
            for jump in range(self.jumps):
                p = denoise(x, schedule.time(t, len(x)), None)
                down = steps.ddpm(p, x, t, s, schedule)
                x = blend(schedule.mix(z, job.noise.like(z), s), down.draw(down.mean, job.noise), mask)
                k += 1
                watch(k, len(pairs) * self.jumps, t, x, p.x0)
                if jump < self.jumps - 1:
                    up = steps.forward(x, s, t, schedule)
                    x = up.draw(up.mean, job.noise)
        return job.edit(x)


@dataclass(frozen=True, kw_only=True)
class Follow(Method):
    """ILVR in miniature: it needs a reference."""

    paper: ClassVar[Paper] = TOY
    needs: ClassVar[Needs] = Needs(target=True, reference=True)
    share: float = param(0.5, ge=0, le=1, try_=0.2, help="how much of the reference's mean is taken")

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job, schedule = Job(self, prior, request, on_step), prior.schedule
        assert request.reference is not None
        goal = prior.encode(request.reference).mean((2, 3), keepdim=True)

        def each(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
            aim = schedule.at(s)[0].to(x_s) * goal
            return x_s + self.share * (aim - x_s.mean((2, 3), keepdim=True))

        x = job.noise.like(job.encode())
        return job.edit(ddim(job.guide(1), x, schedule.grid(5), schedule, each=each, on_step=job.watch()))


class Toward(torch.nn.Module):
    """The gradient of a classifier that likes pictures of 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1 - x


@dataclass(frozen=True, kw_only=True)
class Classified(Method):
    """Classifier guidance in miniature: it needs a classifier."""

    paper: ClassVar[Paper] = TOY
    needs: ClassVar[Needs] = Needs(target=True, given=("classifier",))
    scale: float = param(0.1, ge=0, try_=0.5, help="of the classifier's gradient")

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job, schedule = Job(self, prior, request, on_step), prior.schedule
        classifier = job.given("classifier", torch.nn.Module, "give one")
        assert classifier is not None

        def gradient(x_t: Latent, p: Prediction, t: Time) -> Latent:
            return self.scale * classifier(x_t)

        denoise = steered(job.guide(1), schedule, gradient)
        x = job.noise.like(job.encode())
        return job.edit(ddim(denoise, x, schedule.grid(5), schedule, on_step=job.watch()))


@dataclass(frozen=True, kw_only=True)
class OnePass(Method):
    """A trained editor in miniature: it asks the prior's network nothing."""

    paper: ClassVar[Paper] = TOY
    needs: ClassVar[Needs] = Needs(given=("editor",))
    strength: float = param(1.0, ge=0, try_=0.5, help="how much of its change is made")

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        z, editor = job.encode(), job.given("editor", torch.nn.Module, "give one")
        assert editor is not None
        x = z + self.strength * (editor(z) - z)
        job.watch()(1, 1, 0.0, x, x)
        return job.edit(x)


GIVEN = {
    Inpaint: None,
    Follow: None,
    Classified: lambda request: {"classifier": Toward()},
    OnePass: lambda request: {"editor": torch.nn.Tanh()},
}


@pytest.mark.parametrize("kind", GIVEN)
def test_methods_of_every_shape_conform(kind: type[Method]) -> None:
    check_method(kind, PRIOR, given=GIVEN[kind])


def test_what_is_needed_and_nobody_makes_is_named() -> None:
    with pytest.raises(AssertionError, match="needs editor: make it in check_method"):
        check_method(OnePass, PRIOR)


@dataclass(frozen=True, kw_only=True)
class Liar(OnePass):
    """It asks the network behind its job's back."""

    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        assert request.image is not None
        prior.predict(request.image, prior.schedule.time(5, len(request.image)), prior.embed(["a"]))
        return super().__call__(prior, request, on_step)


@dataclass(frozen=True, kw_only=True)
class Peeking(OnePass):
    """What it does to one picture depends on the others."""

    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        assert request.image is not None
        mixed = request.image + 0.1 * request.image.mean(0, keepdim=True)
        return super().__call__(prior, replace(request, image=mixed), on_step)


@pytest.mark.parametrize(
    ("kind", "law"), [(Liar, "evaluations are counted"), (Peeking, "depend on the batch")]
)
def test_methods_that_break_a_law_are_caught(kind: type[Method], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_method(kind, PRIOR, given=GIVEN[OnePass])
