"""MasaCtrl (Cao et al. 2023, arXiv:2304.08465, section 3): mutual self-attention.

    attention(Q_target, K_source, V_source)    in self-attention, from step `start` and layer `layer` on

The target's queries find what the source has there: a pose may change while the looks stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from scumble.artifacts.inversion import Inversion
from scumble.attention.blend import places
from scumble.attention.foreground import Foreground
from scumble.attention.inject import Borrow, Edits, Follow, Window
from scumble.attention.maps import Record
from scumble.attention.words import read_regions
from scumble.core.control import SOURCE, SOURCE_NULL, TARGET, TARGET_NULL, Site
from scumble.core.errors import InputError
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior, Text
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.inversions import KINDS, Inverter, prepare
from scumble.methods._branches import kept, side_by_side

FOLLOWS: tuple[Follow, ...] = ((TARGET_NULL, SOURCE_NULL), (TARGET, SOURCE))


@dataclass(frozen=True, kw_only=True)
class MasaCtrl(Method):
    """Mutual self-attention, for generated pictures (no image, a size) and for real pictures by inversion."""

    paper: ClassVar[Paper] = Paper(
        title="MasaCtrl: Tuning-Free Mutual Self-Attention Control for Consistent Image Synthesis and Editing",
        arxiv="2304.08465",
        bibtex="""@inproceedings{cao2023masactrl,
  title     = {{MasaCtrl}: Tuning-Free Mutual Self-Attention Control for Consistent Image Synthesis and Editing},
  author    = {Cao, Mingdeng and Wang, Xintao and Qi, Zhongang and Shan, Ying and Qie, Xiaohu and
               Zheng, Yinqiang},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}""",
        departures=(
            "A real picture's source branch is set to its inversion path after each step "
            "(inversion='direct'). In the paper it runs freely (inversion='ddim'), which is the same up "
            "to rounding if the source prompt is empty.",
            "With `foreground`, places whose mask is empty in the source attend everywhere; in the "
            "authors' code they attend to all places equally.",
            "Where a transformer attends to picture and text together (SD 3, FLUX, Qwen-Image, Z-Image), the "
            "target takes the keys and values of the source's picture and keeps its own text.",
        ),
    )
    needs: ClassVar[Needs] = Needs(image=False, target=True, control=True, joint=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=7, help="sampling steps, and as many to invert a real picture")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    start: float = param(
        0.08, ge=0, le=1, try_=0.6, help="the target is sampled freely until this share of the steps"
    )
    layer: int = param(
        10,
        ge=0,
        try_=0,
        help="self-attention is shared from this layer on, counted through the network from 0",
    )
    foreground: str = param(
        "",
        try_="a|b",
        help="words of a thing, source | target: it is made of the source's thing, the rest of its rest: cat | cat",
    )
    foreground_threshold: float = param(
        0.1,
        gt=0,
        lt=1,
        try_=0.9,
        needs="foreground=a|b",
        help="a thing's place: above this share of its map's range",
    )
    foreground_stride: int = param(
        4,
        ge=1,
        try_=1,
        needs="foreground=a|b",
        help="things are found on the coarsest maps, up to so many times coarser than the latent",
    )
    inversion: str = param(
        "direct", choices=tuple(KINDS), try_="ddim", help="how a real picture becomes noise and back"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.foreground and any(region.without for region in read_regions("foreground", self.foreground)):
            raise InputError("foreground: words with a minus have no meaning here; leave them out")

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The inversion path of a real picture, for this and other editors."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        texts = {"source": job.text(job.source, job.sources), "target": job.text(job.target)}
        seen = Record((SOURCE, TARGET))
        window = Window.of([t for t, _ in job.schedule.grid(self.steps)], self.start, 1)
        share = Borrow(self._shared, "kv", FOLLOWS, window, f"self-attention from layer {self.layer} on")
        things = self._foreground(job, texts, window) if self.foreground else None
        records = [seen] if "attention" in request.keep else []
        maps = [*([things] if things else []), *records]
        control = Edits(borrow=[share], maps=maps)
        source, target = side_by_side(job, texts, self._inverter(), self.guidance, control)
        return job.edit(target, kept=kept(job, texts, seen, source))

    def _shared(self, site: Site) -> bool:
        return site.kind in ("self", "joint") and site.layer >= self.layer

    def _foreground(self, job: Job, texts: Mapping[str, Text], window: Window) -> Foreground:
        if any(site.kind == "joint" for site in job.prior.sites()):
            raise InputError("foreground: this model attends to picture and text together; leave it out")
        words, _ = places(read_regions("foreground", self.foreground), texts["source"], texts["target"])
        record = Record((SOURCE, TARGET))
        stride = record.settle(job.prior.sites(), self.foreground_stride)
        return Foreground(
            record, SOURCE, TARGET, stride, words, self.foreground_threshold, self._shared, FOLLOWS, window
        )

    def _inverter(self) -> Inverter:
        return KINDS[self.inversion](self.steps, self.guidance)
