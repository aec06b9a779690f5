"""Direct Inversion (Ju et al. 2024, arXiv:2310.01506).

    o_s = z*_s - DDIM(z_t; source)
    z_s = DDIM(z_t; source) + o_s = z*_s,    x_s = DDIM(x_t; target) + share o_s

z* is the chain of a DDIM inversion; the source branch z is put back on it after every step.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch

from scumble.artifacts.inversion import Inversion
from scumble.core.guidance import guide_branches
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent
from scumble.inversions import DirectInverter, begin, prepare, replay, told
from scumble.loops.invert import Told


@dataclass(frozen=True, kw_only=True)
class DirectInversion(Method):
    """Two branches from one noise. The source's correction at each step also moves the target."""

    paper: ClassVar[Paper] = Paper(
        title="PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code",
        arxiv="2310.01506",
        bibtex="""@inproceedings{ju2024pnp,
  title     = {{PnP} Inversion: Boosting Diffusion-based Editing with 3 Lines of Code},
  author    = {Ju, Xuan and Zeng, Ailing and Bian, Yuxuan and Liu, Shaoteng and Xu, Qiang},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2024}
}""",
        departures=(
            "The paper corrects the source branch, and the attention of Prompt-to-Prompt, MasaCtrl or "
            "Plug-and-Play transfers the picture. This method alone has no attention control: the target "
            "branch takes the correction itself, which is an ablation in the authors' code. share=0 "
            "leaves the target branch unchanged.",
            "The source branch is set to its inversion path, which equals adding the stored difference. "
            "compat='authors' measures, stores and adds it, with a separate pass.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion
    identity: ClassVar[bool] = True  # equal prompts leave the picture as it is

    steps: int = param(50, ge=1, try_=7, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    share: float = param(
        1.0, ge=0, le=1, try_=0.5, help="how much of the source's correction the target takes"
    )
    told: str = told()
    compat: str = param(
        "", choices=("", "authors"), try_="authors", help="store the differences beforehand, as published"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The path up to noise, on which any editor can keep its source branch."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        inversion, watch = begin(job, self._inverter(), guidance=self.guidance, then=self.steps)
        texts, n = job.texts(), job.sources
        null = inversion.null(texts["null"])
        denoise = guide_branches(
            job.prior,
            {"source": texts["source"], "target": texts["target"]},
            {"source": inversion.null(texts["null"].take(range(n))), "target": null},
            self.guidance,
        )

        def together(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
            right = inversion.after(x_s, s)
            return torch.cat([right[:n], right[n:] + self.share * (right[:n] - x_s[:n])])

        free = replace(inversion, forced=False, offsets=None)  # it is put right together with the target
        x = replay(free, denoise, job.schedule, n, job.rows, each=together, on_step=watch)
        return job.edit(x[n:])

    def _inverter(self) -> DirectInverter:
        return DirectInverter(
            steps=self.steps,
            guidance=self.guidance,
            explicit=self.compat == "authors",
            told=cast(Told, self.told),
        )
