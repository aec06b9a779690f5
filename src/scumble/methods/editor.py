"""An editor: a network that was trained with DDS and edits in one forward pass (arXiv:2304.07090, section 4).

g(z, task) = z + strength * r(z, task)
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent
from scumble.networks.editor import Editor, task_vector


@dataclass(frozen=True, kw_only=True)
class TrainedEditor(Method):
    """One forward pass of a trained editor; the prior only encodes and decodes."""

    paper: ClassVar[Paper] = Paper(
        title="Delta Denoising Score",
        arxiv="2304.07090",
        bibtex="""@inproceedings{hertz2023delta,
  title     = {Delta Denoising Score},
  author    = {Hertz, Amir and Aberman, Kfir and Cohen-Or, Daniel},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}""",
        departures=(
            "The authors published no training code and no architecture: the network, its schedules and its data are "
            "ours (docs/editors.md).",
        ),
    )
    needs: ClassVar[Needs] = Needs(prompt=False, given=("editor",))

    task: str = param("", try_="second", help="which of the editor's tasks; empty: the only one it has")
    strength: float = param(
        1.0, ge=0, le=2, try_=0.5, help="how much of the change: 0 none, 1 as trained, more exaggerates"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        editor = job.given("editor", Editor, "train one with `scumble train editor`")
        assert editor is not None  # needs.given says so
        editor.check(prior)
        z = job.spread(job.encode())
        which = self._task(editor.to(z.device), job, z)
        x = z + self.strength * editor.residual(z.float(), which).to(z)
        job.watch()(1, 1, float(prior.schedule.clean), x, x)
        return job.edit(x)

    def _task(self, editor: Editor, job: Job, z: Latent) -> Tensor:
        """The task of every row: its number, or the vector of the target prompt."""
        if editor.config.text:
            if not any(job.target):
                raise InputError("target: empty; this editor is told what to do by the target prompt")
            return task_vector(job.text(job.target)).to(z.device)
        return torch.full((len(z),), editor.number(self.task), dtype=torch.int64, device=z.device)
