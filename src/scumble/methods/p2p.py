"""Prompt-to-Prompt (Hertz et al. 2022, arXiv:2208.01626, section 3.2): source and target from one noise.

    M_t <- Edit(M_t, M*_t)    in the cross-attention of every step, M the target's maps, M* the source's

The source's maps say where things are; `attention.inject.Inject` has the edits.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor

from scumble.artifacts.inversion import Inversion
from scumble.attention.blend import LocalBlend, places
from scumble.attention.inject import Borrow, Edits, Inject, Window
from scumble.attention.maps import Record
from scumble.attention.words import Kind, align, factors, read_factors, read_regions, read_windows
from scumble.core.control import SOURCE, TARGET, Site
from scumble.core.errors import InputError
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior, Text
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent, Pair
from scumble.inversions import KINDS, Inverter, prepare
from scumble.methods._branches import kept, side_by_side


@dataclass(frozen=True, kw_only=True)
class P2P(Method):
    """Replace, refine or reweight words, in generated pictures (no image, a size) and in real pictures by inversion."""

    paper: ClassVar[Paper] = Paper(
        title="Prompt-to-Prompt Image Editing with Cross Attention Control",
        arxiv="2208.01626",
        bibtex="""@inproceedings{hertz2023prompt,
  title     = {Prompt-to-Prompt Image Editing with Cross Attention Control},
  author    = {Hertz, Amir and Mokady, Ron and Tenenbaum, Jay and Aberman, Kfir and Pritch, Yael and
               Cohen-Or, Daniel},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
        departures=(
            "If a changed word has more or fewer tokens than the one it replaces, the published alignment "
            "ignores the shift after the last such word, and never shifts the padding. Here every token "
            "keeps its own map, unless compat='authors'.",
            "The published windows of cross-attention may be one step longer than stated, and all targets "
            "share the factors of the first. compat='authors' does the same.",
            "Limits on the size of maps are strides of the latent: the published 32 x 32 and 16 x 16 "
            "pixels are 2 and 4 for 64 x 64 latents.",
            "Where a transformer attends to picture and text together (SD 3, FLUX, Qwen-Image, Z-Image), the "
            "target takes the queries and keys of the source's picture while self-attention follows "
            "(arXiv:2508.07519); words have no maps of their own to replace or reweight.",
        ),
    )
    needs: ClassVar[Needs] = Needs(image=False, source=True, target=True, control=True, joint=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    edit: str = param(
        "refine",
        choices=("refine", "replace", "reweight"),
        try_="replace",
        help="refine: words are added; replace: as many words in both prompts; reweight: the same prompt",
    )
    steps: int = param(50, ge=1, try_=7, help="sampling steps, and as many to invert a real picture")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    cross_start: float = param(
        0.0, ge=0, le=1, try_=0.5, help="cross-attention follows from here: share of steps"
    )
    cross_end: float = param(
        0.8, ge=0, le=1, try_=0.3, help="cross-attention follows until here: share of steps"
    )
    self_start: float = param(
        0.0, ge=0, le=1, try_=0.3, help="self-attention follows from here: share of steps"
    )
    self_end: float = param(
        0.4, ge=0, le=1, try_=0.8, help="self-attention follows until here: share of steps"
    )
    self_stride: int = param(
        2, ge=1, try_=1, help="self-attention follows where the latent is at least so many times finer"
    )
    windows: str = param(
        "",
        try_="b=0.2",
        needs="edit=replace",
        help="cross-attention of single words: tiger=0.4, cat=0.2:0.6",
    )
    reweight: str = param(
        "", try_="b=3", help="factors of words' maps: striped=2, red=0.5; negative: less of it"
    )
    blend: str = param(
        "",
        try_="a|b",
        help="words whose regions alone may change, source | target: cat -grass | tiger -grass",
    )
    blend_start: float = param(
        0.2, ge=0, le=1, try_=0.9, needs="blend=a|b", help="blending begins here: share of steps"
    )
    blend_threshold: float = param(
        0.3,
        ge=0,
        lt=1,
        try_=0.9,
        needs="blend=a|b",
        help="a word's region: above this share of its map's maximum",
    )
    blend_minus_threshold: float = param(
        0.3, ge=0, lt=1, try_=0.9, needs="blend=a -a|b -b", help="the same for words with a minus"
    )
    blend_stride: int = param(
        4,
        ge=1,
        try_=1,
        needs="blend=a|b",
        help="blending looks at the coarsest maps, up to so many times coarser than the latent",
    )
    inversion: str = param(
        "direct", choices=tuple(KINDS), try_="ddim", help="how a real picture becomes noise and back"
    )
    compat: str = param(
        "",
        choices=("", "authors"),
        try_="authors",
        help="follow published code where it differs from the paper",
    )

    def __post_init__(self) -> None:
        validate(self)
        read_windows("windows", self.windows)
        if not read_factors("reweight", self.reweight) and self.edit == "reweight":
            raise InputError("reweight: empty; say by how much, such as reweight='striped=2'")
        if self.blend:
            read_regions("blend", self.blend)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The inversion path of a real picture, for this and other editors."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        pairs = job.schedule.grid(self.steps)
        texts = {"source": job.text(job.source, job.sources), "target": job.text(job.target)}
        if any(site.kind == "joint" for site in job.prior.sites()):
            self._refuse_maps()
        streams = any(site.block == "double" for site in job.prior.sites())
        blocks = ("down", "up", "double" if streams else "single")
        seen, blended = Record((SOURCE, TARGET)), Record((SOURCE, TARGET), blocks=blocks)
        records = [r for r, wanted in ((blended, self.blend), (seen, "attention" in request.keep)) if wanted]
        control, blend = self._control(texts, pairs, records), None
        if self.blend:
            blend = self._blend(texts, pairs, blended, job.prior.sites())

        def each(x: Latent, p: Prediction, t: float, s: float) -> Latent:
            return x if blend is None else blend(x, t)

        source, target = side_by_side(job, texts, self._inverter(), self.guidance, control, each)
        n, size = len(source), (target.shape[-2], target.shape[-1])
        maps = {} if blend is None else {"blend": blend.mask(size)[n:]}
        return job.edit(target, maps, kept(job, texts, seen, source))

    def _refuse_maps(self) -> None:
        """Raises InputError for what only maps of cross-attention can do."""
        for name in ("reweight", "windows"):
            if getattr(self, name):
                raise InputError(
                    f"{name}: this model attends to picture and text together, so words have no maps of their own "
                    "to change; leave it out"
                )

    def _inverter(self) -> Inverter:
        return KINDS[self.inversion](self.steps, self.guidance)

    def _control(self, texts: Mapping[str, Text], pairs: Sequence[Pair], records: Sequence[Record]) -> Edits:
        """Cross-attention maps are replaced and then recorded; self-attention uses the source's queries and keys."""
        times = [t for t, _ in pairs]
        inject = Inject(
            (TARGET, SOURCE),
            align(cast(Kind, self.edit), texts["source"], texts["target"], published=bool(self.compat)),
            self._factors(texts["target"]),
            self._window(texts["target"], [*times, -math.inf] if self.compat else times),
        )
        follow = Borrow(
            lambda site: site.kind in ("self", "joint") and site.stride >= self.self_stride,
            "qk",
            [(TARGET, SOURCE)],
            Window.of(times, self.self_start, self.self_end),
        )
        return Edits(maps=[inject, *records], borrow=[follow])

    def _factors(self, target: Text) -> Tensor:
        by_word = read_factors("reweight", self.reweight)
        if self.compat:
            return factors(target.take([0]), by_word).expand(len(target), -1)
        return factors(target, by_word)

    def _window(self, target: Text, times: Sequence[float]) -> Window:
        """The window of cross-attention for every token of every target."""
        window = Window.of(times, self.cross_start, self.cross_end)
        for word, (start, end) in read_windows("windows", self.windows).items():
            window = window.replaced(factors(target, {word: 1.0}, 0.0), Window.of(times, start, end))
        return window

    def _blend(
        self, texts: Mapping[str, Text], pairs: Sequence[Pair], record: Record, sites: Collection[Site]
    ) -> LocalBlend:
        words, without = places(read_regions("blend", self.blend), texts["source"], texts["target"])
        return LocalBlend(
            record=record,
            stride=record.settle(sites, self.blend_stride),
            source=SOURCE,
            target=TARGET,
            words=words,
            without=without,
            threshold=self.blend_threshold,
            threshold_without=self.blend_minus_threshold,
            window=Window.of([t for t, _ in pairs], self.blend_start, 1),
        )
