"""Pix2Pix-Zero (Parmar et al. 2023, arXiv:2302.03027, section 3.3).

    x_t <- x_t - lambda d/dx_t |M(x_t, c + direction) - M(z_t, c)|^2    before every step: cross-attention guidance

c is the embedded caption; z_t the source's branch from the same inversion, M the cross-attention maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from scumble.artifacts.direction import Direction
from scumble.artifacts.inversion import Inversion
from scumble.attention.compare import Compare
from scumble.core.control import Row
from scumble.core.errors import InputError
from scumble.core.guidance import Branch, branch
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.masks import blend_rows
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Prior, Text, ask
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent, Time
from scumble.inversions import RegularisedInverter, begin, prepare, replay
from scumble.loops.regularise import Regularisation


@dataclass(frozen=True, kw_only=True)
class Pix2PixZero(Method):
    """Before each sampling step, a gradient step moves the edit's cross-attention towards the caption's."""

    paper: ClassVar[Paper] = Paper(
        title="Zero-shot Image-to-Image Translation",
        arxiv="2302.03027",
        bibtex="""@inproceedings{parmar2023zero,
  title     = {Zero-shot Image-to-Image Translation},
  author    = {Parmar, Gaurav and Singh, Krishna Kumar and Zhang, Richard and Li, Yijun and Lu, Jingwan and
               Zhu, Jun-Yan},
  booktitle = {ACM SIGGRAPH Conference Proceedings},
  year      = {2023}
}""",
        departures=(
            "The gradient moves one latent, as in the paper. In the published code the two copies for "
            "guidance drift apart, and the edit continues from the copy of the negative prompt: "
            "compat='authors'.",
            "The inversion uses every time of the grid, with matching levels. The published one omits the "
            "first and the last time and is one level off: compat='authors'. compat='pipeline' is the "
            "inversion of pipelines, whose shifts may be 0. Both draw a sample from the codec.",
            "The caption's pass and the edit run together, so no maps are stored beyond a step.",
            "Without a direction, the two prompts count as one sentence each.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, gradient=True, control=True, takes=("direction",))
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=4, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(5.0, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    attention_guidance: float = param(
        0.1, ge=0, try_=1.0, help="gradient step per step towards the caption's cross-attention"
    )
    null: str = param(
        "source",
        choices=("source", "negative"),
        try_="negative",
        help="what guidance leads away from: the source prompt, as for real pictures, or the negative prompt",
    )
    auto_correlation: float = param(20.0, ge=0, try_=0.0, help="weight against correlated noise")
    kl: float = param(20.0, ge=0, try_=0.0, help="weight against noise of another mean or variance")
    rounds: int = param(5, ge=0, try_=1, help="rounds of regularisation per step of the inversion")
    rolls: int = param(5, ge=1, try_=1, help="gradient steps against correlation per round")
    compat: str = param(
        "", choices=("", "authors", "pipeline"), try_="authors", help="follow published code where it differs"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.compat == "authors" and self.steps < 3:
            raise InputError(
                f"steps: {self.steps}; the published inversion leaves out two, so take at least 3"
            )

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The regularised inversion, for this and other editors."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        source, target = self._texts(job)
        inversion, watch = begin(job, self._inverter(), guidance=self.guidance, then=self.steps)
        if self.compat == "authors":  # their levels are the grid's again on the way down
            pairs = tuple(job.schedule.grid(self.steps))
            inversion = replace(inversion, pairs=pairs, trajectory=inversion.trajectory[:1])
        compare, n = Compare(), len(source)
        denoise = self._denoiser(job, compare, inversion, source, target)
        mask = job.mask(inversion.start(n))

        def keep(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
            return blend_rows(x_s, n, mask)

        with job.prior.control(compare):
            x = replay(inversion, denoise, job.schedule, n, job.rows, each=keep, on_step=watch)
        return job.edit(x[n:])

    def _inverter(self) -> RegularisedInverter:
        values = Regularisation(
            auto_correlation=self.auto_correlation,
            kl=self.kl,
            rounds=self.rounds,
            rolls=self.rolls,
            zero=self.compat == "pipeline",
        )
        return RegularisedInverter(
            steps=self.steps, values=values, sample=bool(self.compat), shifted=self.compat == "authors"
        )

    def _texts(self, job: Job) -> tuple[Text, Text]:
        """The caption, and the caption plus the direction, for the rows of the targets."""
        source = job.text(job.source, job.sources)
        given = job.given("direction", Direction, "give a scumble.artifacts.direction.Direction")
        if given is None:
            if not any(job.target):
                raise InputError(
                    "target: missing; describe what the picture should show, or give a direction"
                )
            return source, job.text(job.target)
        caption = job.text(job.source)
        return source, replace(caption, tokens=caption.tokens + given.tokens(job.prior).to(caption.tokens))

    def _denoiser(
        self, job: Job, compare: Compare, inversion: Inversion, source: Text, target: Text
    ) -> Denoiser:
        """A denoiser on the rows of the source and, below them, the targets. It evaluates the source first and keeps
        its maps.
        """
        prompts, n, schedule = (
            job.source if self.null == "source" else job.negative,
            len(source),
            job.schedule,
        )
        caption, edited = (
            branch(job.prior.card, role, text, inversion.null(job.text(prompts, len(text))), self.guidance)
            for role, text in {"source": source, "target": target}.items()
        )

        def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
            of_source = _said(job.prior, caption, dict.fromkeys(caption.rows, x_t[:n]), t[:n])
            moved = self._toward(job.prior, compare, edited, x_t[n:], t[n:])
            of_target = _said(job.prior, edited, moved, t[n:])
            if self.compat:  # guided eps of both states, in a step from the first
                of_target = schedule.predict(next(iter(moved.values())), t[n:], eps=of_target.eps)
            return Prediction(
                torch.cat([of_source.x0, of_target.x0]), torch.cat([of_source.eps, of_target.eps])
            )

        return denoise

    def _toward(
        self, prior: Prior, compare: Compare, branch: Branch, x: Latent, t: Time
    ) -> dict[Row, Latent]:
        """The latent of each row after a gradient step towards the source's maps: one for both rows or, as published,
        one each.
        """
        with torch.enable_grad():
            leaves: dict[Row, Latent] = {row: x.detach().requires_grad_() for row in branch.rows}
            compare.measure()
            _said(prior, branch, leaves, t)
            grads = torch.autograd.grad(compare.loss().sum(), list(leaves.values()))
        grads = grads if self.compat else [torch.stack(grads).sum(0)] * len(grads)
        return {row: x - self.attention_guidance * grad for row, grad in zip(branch.rows, grads, strict=True)}


def _said(prior: Prior, branch: Branch, x: Mapping[Row, Latent], t: Time) -> Prediction:
    """The guided prediction of a branch whose rows may have different latents."""
    texts = branch.texts(t)
    p = ask(prior, {row: (x[row], texts[row]) for row in branch.rows}, t)
    return branch.combine(p, prior.schedule, t)
