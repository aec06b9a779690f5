"""Plug-and-Play (Tumanyan et al. 2023, arXiv:2211.12572).

    x_s = DDIM(x_t; target, f <- f*, (Q, K) <- (Q*, K*))    from the source's inverted noise

f is the output of a residual block and Q, K those of self-attention, each put in at the early steps; * marks the
source's branch.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.artifacts.inversion import Inversion
from scumble.attention.inject import Borrow, Edits, Follow, Window
from scumble.attention.maps import Record
from scumble.core.control import SOURCE, TARGET, TARGET_NULL
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.inversions import DDIMInverter, prepare
from scumble.methods._branches import kept, side_by_side

FOLLOWS: tuple[Follow, ...] = ((TARGET_NULL, SOURCE), (TARGET, SOURCE))


@dataclass(frozen=True, kw_only=True)
class PlugAndPlay(Method):
    """Text-driven translation of a real picture: its structure stays, and everything else may change."""

    paper: ClassVar[Paper] = Paper(
        title="Plug-and-Play Diffusion Features for Text-Driven Image-to-Image Translation",
        arxiv="2211.12572",
        bibtex="""@inproceedings{tumanyan2023plug,
  title     = {Plug-and-Play Diffusion Features for Text-Driven Image-to-Image Translation},
  author    = {Tumanyan, Narek and Geyer, Michal and Bagon, Shai and Dekel, Tali},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
        departures=(
            "The authors invert on a grid of 999 steps and sample on one of 50. Here both use the same "
            "grid, at a twentieth of the cost.",
        ),
    )
    needs: ClassVar[Needs] = Needs(target=True, control=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=7, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance of the sampling; 1 is none")
    features: float = param(0.8, ge=0, le=1, try_=0.3, help="features are put in until here: share of steps")
    attention: float = param(
        0.5, ge=0, le=1, try_=0.2, help="queries and keys are put in until here: share of steps"
    )
    feature_block: int = param(
        4, ge=0, try_=1, help="the residual block on the way up whose features are taken, counted from 0"
    )
    attention_layer: int = param(
        1, ge=0, try_=3, help="the first self-attention layer on the way up that is shared, counted from 0"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The inversion path of the picture, for this and other editors."""
        return prepare(self, DDIMInverter(steps=self.steps), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        # The source's branch is asked without a prompt, whatever its chain was made with.
        texts = {"source": job.text(("",), job.sources), "target": job.text(job.target)}
        seen = Record((SOURCE, TARGET))
        control = self._control(job, [seen] if "attention" in request.keep else [])
        inverter = DDIMInverter(steps=self.steps)
        source, target = side_by_side(job, texts, inverter, self.guidance, control, shown=True)
        return job.edit(target, kept=kept(job, texts, seen, source))

    def _control(self, job: Job, maps: list[Record]) -> Edits:
        times = [t for t, _ in job.schedule.grid(self.steps)]
        features = Borrow(
            lambda site: site.kind == "resnet" and site.block == "up" and site.index == self.feature_block,
            "",
            FOLLOWS,
            Window.of(times, 0, self.features),
            f"residual block {self.feature_block} on the way up",
        )
        layout = Borrow(
            lambda site: site.kind == "self" and site.block == "up" and site.index >= self.attention_layer,
            "qk",
            FOLLOWS,
            Window.of(times, 0, self.attention),
            f"self-attention from layer {self.attention_layer} on the way up",
        )
        return Edits(borrow=[layout], features=[features], maps=maps)
