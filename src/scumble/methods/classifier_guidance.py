"""Classifier guidance (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithms 1-2).

    g = scale grad_x log p(y | x_t, t);    mean <- mean + var g    or    eps <- eps - sigma_t g

The classifier knows noise: its gradient does not go through the denoiser.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scumble.core.errors import InputError, nearest
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.judges import Classifier
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.core.types import Time
from scumble.methods._steered import Steered


@dataclass(frozen=True, kw_only=True)
class ClassifierGuidance(Steered):
    """Sampling towards classes of a noise-aware classifier; from a picture, noised first, or from noise alone."""

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Models Beat GANs on Image Synthesis",
        arxiv="2105.05233",
        bibtex="""@inproceedings{dhariwal2021diffusion,
  title     = {Diffusion Models Beat {GANs} on Image Synthesis},
  author    = {Dhariwal, Prafulla and Nichol, Alexander},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2021}
}""",
        departures=(
            "The paper samples from noise; a strength below 1 starts from a noised picture, as SDEdit does.",
            "Several classes of different groups are asked for at once: their log-probabilities are added.",
            "A classifier that does not know noise looks at the predicted picture, and its gradient goes through the "
            "denoiser.",
            "x0 is clamped where clamp is set: latents have no bounds.",
        ),
    )
    needs: ClassVar[Needs] = Needs(image=False, given=("classifier",))

    scale: float = param(
        10.0, try_=3.0, help="weight of the gradient; the paper's 10 is for an unconditional model"
    )
    label: str = param(
        "",
        try_="red",
        help="the classes asked for, separated by commas; empty: those that the target prompt names",
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        remedy = "load one with scumble.networks.load('classifier', folder)"
        classifier = job.given("classifier", Classifier, remedy)
        assert classifier is not None
        classifier.check(prior)
        wanted = self._wanted(job, classifier)

        def energy(y: Tensor, t: Time | None, p: Prediction) -> Tensor:
            return self.scale * (classifier.log_prob(y, t) * wanted.to(y)).sum(1)

        z = job.spread(job.encode())
        return job.edit(self.sample(job, classifier, energy, z))

    def _wanted(self, job: Job, classifier: Classifier) -> Tensor:
        """(rows, classes): 1 for every class asked for. Raises InputError for an unknown one, or for none."""
        classes = classifier.classes
        if self.label:
            asked = [[name.strip() for name in self.label.split(",")]]
        else:
            asked = [named(prompt, classes) for prompt in job.target]
        rows = torch.zeros(len(asked), len(classes), dtype=torch.float64)
        for row, names in zip(rows, asked, strict=True):
            for name in names:
                if name not in classes:
                    raise InputError(
                        f"label: {classifier.id!r} has no class {name!r}{nearest(name, classes)}; "
                        f"it has {', '.join(classes)}"
                    )
                row[classes.index(name)] = 1
            self._check_groups(row, classifier, job)
        return rows.expand(job.rows, -1)

    def _check_groups(self, row: Tensor, classifier: Classifier, job: Job) -> None:
        if not row.any():
            raise InputError(
                f"label: the target names none of the classes of {classifier.id!r}; set label to one of "
                f"{', '.join(classifier.classes)}"
            )
        for group in classifier.groups:
            both = [classifier.classes[i] for i in group if row[i]]
            if len(both) > 1:
                raise InputError(f"label: {' and '.join(both)} exclude each other; ask for one of them")


def named(prompt: str, classes: Sequence[str]) -> list[str]:
    """The classes that a prompt names as whole words, longer names first: "red background" is not "red"."""
    found: list[str] = []
    for name in sorted(classes, key=len, reverse=True):
        prompt, count = re.subn(rf"(?<!\w){re.escape(name)}(?!\w)", " ", prompt, flags=re.IGNORECASE)
        found += [name] * bool(count)
    return found
