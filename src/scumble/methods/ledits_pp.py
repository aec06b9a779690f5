"""LEDITS++ (Brack et al. 2024, arXiv:2311.16711, section 3).

eps = eps(x_t, null) + sum over concepts c of mask_c s_c (eps(x_t, c) - eps(x_t, null))
x_s = mu(x_t, eps) + n_t,    n_t the noise maps of an edit-friendly inversion, mu of SDE-DPM-Solver++
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, cast

import torch
from torch import Tensor

from scumble.artifacts.inversion import Inversion
from scumble.attention.inject import Edits
from scumble.attention.maps import Record
from scumble.attention.masks import concept_mask, guidance_mask
from scumble.core.control import TARGET_NULL, Row
from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.guidance import guide
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Panel, Prior, Text
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Mask, Pair, Time
from scumble.inversions import EditFriendlyInverter, begin, prepare, replay

BLOCKS = ("down", "up")  # whose cross-attention says where a concept is


@dataclass(frozen=True, kw_only=True)
class LEDITSpp(Method):
    """Concepts ("a tiger; -a cat") act during a replay of the source's own noise, each masked by attention and
    guidance.
    """

    paper: ClassVar[Paper] = Paper(
        title="LEDITS++: Limitless Image Editing using Text-to-Image Models",
        arxiv="2311.16711",
        bibtex="""@inproceedings{brack2024ledits,
  title     = {{LEDITS++}: Limitless Image Editing using Text-to-Image Models},
  author    = {Brack, Manuel and Friedrich, Felix and Kornmeier, Katharina and Tsaban, Linoy and
               Schramowski, Patrick and Kersting, Kristian and Passos, Apolin{\\'a}rio},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}""",
        departures=(
            "The released pipeline swaps the source prompt and the empty prompt in the inversion, so that "
            "guidance leads away from the source. It smooths attention with twice the stated variance, "
            "and ends its second-order solver on another grid. compat='pipeline' does the same.",
            "With a fast tokenizer it takes the padded length as the number of a concept's tokens; here "
            "only the tokens of the concept count.",
            "A noise map is never divided by its standard deviation.",
        ),
    )
    needs: ClassVar[Needs] = Needs(control=True, takes=("concepts",))
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(30, ge=1, try_=6, help="steps taken")
    skip: float = param(
        0.15, ge=0, try_=0.6, help="steps left off at the noisy end, as a share of those taken"
    )
    order: int = param(2, choices=(1, 2), try_=1, help="of the solver: 2 is SDE-DPM-Solver++, 1 DDPM")
    source_guidance: float = param(
        3.5, ge=0, try_=2.0, help="towards the source prompt when inverting; 1 is none"
    )
    guidance: float = param(5.0, ge=0, try_=3.0, help="of each concept, above the negative prompt")
    threshold: float = param(
        0.9, ge=0, lt=1, try_=0.5, help="the share of the picture that a concept leaves alone"
    )
    mask: str = param(
        "intersect",
        choices=("intersect", "attention", "guidance"),
        try_="attention",
        help="where a concept is by its attention, where it would change most, or both",
    )
    settled: float = param(
        0.8, ge=0, le=1, try_=0.3, help="above this share of the levels intersect takes attention alone"
    )
    compat: str = param(
        "", choices=("", "pipeline"), try_="pipeline", help="follow the released pipeline where it differs"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The picture's own noise, for this and other editors with the same levels."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        concepts, inverter = self._concepts(job), self._inverter()
        look = Look(job, [job.text([concept.prompt for concept in rows]) for rows in concepts])
        moves = inverter.pairs(job.schedule)
        inversion, watch = begin(job, inverter, guidance=self.guidance, then=len(moves))
        masks: list[Tensor] = []
        denoise = self._denoiser(job, look, inversion, concepts, [t for t, _ in moves], masks)
        x = replay(inversion, denoise, job.schedule, job.rows, on_step=watch)
        kept = {"masks": masks} if "masks" in request.keep else {}
        return job.edit(x, {"mask": torch.stack([step.amax(0) for step in masks]).mean(0)}, kept)

    def _inverter(self) -> "LEDITSInverter":
        total = portion(self.steps, 1 + self.skip, truncated=bool(self.compat))
        return LEDITSInverter(
            steps=total,
            skip=total - self.steps,
            guidance=self.source_guidance,
            order=self.order,
            published=bool(self.compat),
        )

    def _concepts(self, job: Job) -> "list[list[Concept]]":
        """By concept, one for each row."""
        given = job.request.given.get("concepts")
        if given is not None and not isinstance(given, list | tuple):
            raise InputError("concepts: give a list of scumble.methods.ledits_pp.Concept")
        chosen = [c for c in cast("Sequence[object]", given or ()) if isinstance(c, Concept)]
        if given is not None and (not chosen or len(chosen) < len(cast("Sequence[object]", given))):
            raise InputError("concepts: give a list of scumble.methods.ledits_pp.Concept")
        rows = [chosen] if chosen else [read(target) for target in job.target]
        if len({len(row) for row in rows}) > 1:
            raise InputError("target: the targets have different numbers of concepts; give each as many")
        return [list(column) * (job.rows // len(column)) for column in zip(*rows, strict=True)]

    def _denoiser(
        self,
        job: Job,
        look: "Look",
        inversion: Inversion,
        concepts: "Sequence[Sequence[Concept]]",
        times: Sequence[float],
        masks: list[Tensor],
    ) -> Denoiser:
        """eps of the null prompt plus the masked contribution of each concept; keeps the masks (concepts, rows, 1, h,
        w) of every step.
        """
        null, asked = inversion.null(job.text(job.negative)), job.mask(inversion.start(len(inversion)))

        def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
            eps, of_concepts, maps = look(x_t, t, null(t) if callable(null) else null, at)
            total, step = eps, list[Mask]()
            for c, (rows, of_concept) in enumerate(zip(concepts, of_concepts, strict=True)):
                g = self._weight(rows, times.index(t[0].item()), len(times)).to(eps) * (of_concept - eps)
                g = g if asked is None else asked * g
                mask = self._mask(rows[0], g, maps[c], look.texts[c], float(t[0]) / job.schedule.T)
                total = total + mask * g
                step.append(mask)
            masks.append(torch.stack(step))
            return job.schedule.predict(x_t, t if at is None else at, eps=total)

        return denoise

    def _weight(self, rows: "Sequence[Concept]", step: int, steps: int) -> Tensor:
        """(rows, 1, 1, 1): the weight of a concept at a step; negative if it leads away."""
        on = portion(steps, rows[0].start) <= step < portion(steps, rows[0].end)
        w = self.guidance if rows[0].guidance is None else rows[0].guidance
        signed = [w * on * (-1 if concept.away else 1) for concept in rows]
        return torch.tensor(signed, dtype=torch.float32)[:, None, None, None]

    def _mask(self, concept: "Concept", g: Latent, maps: Tensor, text: Text, level: float) -> Mask:
        """Where a concept may act: (rows, 1, h, w); zero while it is not active."""
        at = self.threshold if concept.threshold is None else concept.threshold
        on = (g != 0).flatten(1).any(1).to(g)[:, None, None, None]
        if self.mask == "guidance":
            return on * guidance_mask(g, at)
        size = (g.shape[-2], g.shape[-1])
        mask = concept_mask(maps, text, at, size, published=bool(self.compat)).to(g)
        if self.mask == "intersect" and level <= self.settled:
            mask = mask * guidance_mask(g, at)
        return on * mask


@dataclass(frozen=True, kw_only=True)
class Concept:
    """A prompt to move towards (or `away` from), active from the share `start` of the steps to the share `end`. Its
    guidance and threshold are the method's if None.
    """

    prompt: str
    away: bool = False
    guidance: float | None = None
    threshold: float | None = None
    start: float = 0.0
    end: float = 1.0


def read(target: str) -> list[Concept]:
    """ "a tiger; -a cat" -> towards a tiger, and away from a cat. Raises InputError where a part is empty."""
    parts = [part.strip() for part in target.split(";")]
    prompts = [part.removeprefix("-").strip() for part in parts]
    if not all(prompts):
        raise InputError(f"target: {target!r} has an empty concept; write it like 'a tiger; -a cat'")
    return [Concept(prompt=p, away=part.startswith("-")) for p, part in zip(prompts, parts, strict=True)]


class Look:
    """One network call on the null prompt and on every concept, and the attention maps of the concepts' tokens."""

    def __init__(self, job: Job, texts: Sequence[Text]):
        self.texts, self._prior = texts, job.prior
        self._names: list[Row] = [(f"concept {c}", "text") for c in range(len(texts))]
        # 16 x 16 on a latent of 64, or the coarsest there is up to that
        self._stride = Record(self._names, blocks=BLOCKS).settle(job.prior.sites(), 4)

    def __call__(
        self, x_t: Latent, t: Time, null: Text, at: Time | None
    ) -> tuple[Latent, list[Latent], list[Tensor]]:
        """eps of the null text, eps of the concepts, their maps (rows, L, h, w)."""
        panel = Panel({TARGET_NULL: null, **dict(zip(self._names, self.texts, strict=True))})
        record = Record(self._names, blocks=BLOCKS, stride=self._stride)
        with self._prior.control(Edits(maps=[record])):
            p = panel.ask(self._prior, dict.fromkeys([TARGET_NULL, *self._names], x_t), t, at)
        return (
            p[TARGET_NULL].eps,
            [p[n].eps for n in self._names],
            [record.at(n, self._stride) for n in self._names],
        )


@dataclass(frozen=True, kw_only=True)
class LEDITSInverter(EditFriendlyInverter):
    """Edit-friendly inversion; `published` with the deviations of the pipeline."""

    published: bool = False

    def pairs(self, schedule: Schedule) -> list[Pair]:
        if not self.published:
            return super().pairs(schedule)
        if self.order == 1:
            return schedule.grid(self.steps, spacing="leading")[self.skip :]
        times = [t for t, _ in schedule.grid(self.steps + 1, spacing="leading")[:-1]]
        return list(pairwise([*times, schedule.clean]))[self.skip :]

    def __call__(self, job: Job, total: int) -> Inversion:
        made = super().__call__(job, total)
        if self.published and made.noises is not None and made.pairs[-1][1] == job.schedule.clean:
            made.noises[-1] = 0  # they have no map where the solver has no spread
        return made

    def _denoiser(self, job: Job) -> Denoiser:
        text, null = (job.text(prompts, job.sources) for prompts in (job.source, job.negative))
        if not any(job.source):
            return guide(job.prior, null, null, 1)
        return guide(job.prior, *((null, text) if self.published else (text, null)), self.guidance)
