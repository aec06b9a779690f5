"""Checks whether a checkpoint works, with figures and a contact sheet."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scumble.pictures.sheets import Cell, sheet

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.core.prediction import Output
    from scumble.core.prior import Prior
    from scumble.core.request import Edit
    from scumble.editing.plan import Plan

    Found = tuple[bool, str, Image.Image | None]  # whether a check passed, its figures, the picture it made

SOURCE, TARGET = "a red circle on a white background", "a blue circle on a white background"
SAMPLE = "a photo of a cat"  # of models that know such words
STEPS = {"sample": 20, "identity": 5, "edit": 50}
LEVELS = 0.3, 0.5, 0.7  # shares of the times at which the predicted noise is measured
NOISE_ERROR = 0.5  # of the variance of the noise, half-way: above it the prediction is useless
STILL = 2  # 8-bit steps: how far a picture that must not change may move, by rounding alone


@dataclass(frozen=True)
class Finding:
    """One check: whether it passed, the figures, and the picture it made."""

    name: str
    passed: bool
    figures: str
    picture: Image.Image | None = None

    @property
    def line(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.name}: {self.figures}"


class Patient:
    """A model to check, and a test picture that every model can reproduce."""

    def __init__(self, prior: Prior, perform: Callable[[Plan], Edit]):
        from PIL import Image

        from scumble.scenes.render import render
        from scumble.scenes.world import Scene, Thing

        scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
        self.prior, self.perform = prior, perform
        self.picture = Image.fromarray(render(scene, prior.card.size))
        self.reads = "text" in prior.card.capabilities

    def edit(self, method: str, target: str, **settings: object) -> tuple[Plan, Edit]:
        """An edit of the picture by a method, without the layer; without prompts if the model takes none."""
        from scumble.editing.checks import DomainWarning
        from scumble.editing.plan import plan
        from scumble.editing.recipe import Recipe

        words: dict[str, Any] = {"source": SOURCE, "target": target} if self.reads else {}
        if self.prior.card.guidance == "none":  # such models refuse any other
            settings = {"guidance": 1.0, **settings}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DomainWarning)  # the codec has a check of its own
            recipe = Recipe(
                self.picture, method=method, model=self.prior, keep="none", settings=settings, **words
            )
            made = plan(recipe)
        return made, self.perform(made)

    def codec(self) -> Found:
        """The picture, encoded and decoded."""
        from scumble.core.pixels import psnr, to_pixels
        from scumble.editing.checks import codec_floor
        from scumble.pictures.placed import Placed
        from scumble.pictures.reading import read

        placed = Placed.of(read(self.picture), self.prior)
        copied = psnr(to_pixels(placed.image), to_pixels(placed.before))
        floor = codec_floor(placed.prior.card)
        return copied >= floor, f"{copied:.1f} dB, at least {floor:g}", _shown(placed.before)

    def noise(self) -> Found:
        """Predictions for the picture under known noise; they are wrong if the config misstates the prediction type."""
        from scumble.core.prediction import PREDICTION_TYPES
        from scumble.pictures.placed import Placed
        from scumble.pictures.reading import read

        placed = Placed.of(read(self.picture), self.prior)
        errors = noise_errors(self.prior, placed.image, SOURCE if self.reads else "")
        said = self.prior.schedule.prediction
        total: dict[Output, float] = {kind: sum(each) for kind, each in errors.items()}
        best, middle = min(total, key=lambda kind: total[kind]), errors[said][len(LEVELS) // 2]
        levels = ", ".join(f"{share:g} T" for share in LEVELS)
        figures = (
            f"error {', '.join(f'{error:.2g}' for error in errors[said])} of 1 at t = {levels}, at most "
            f"{NOISE_ERROR:g} at 0.5 T"
        )
        if total[best] < 0.5 * total[said]:
            wrong = f"its config says that it predicts {said}, but its output is {best}"
            remedy = f"correct prediction_type in its scheduler config to {PREDICTION_TYPES[best]}"
            return False, f"{wrong} ({errors[best][1]:.2g}); {remedy}; {figures}", None
        return middle <= NOISE_ERROR, figures, None

    def sample(self) -> Found:
        """A picture sampled from noise."""
        words = SAMPLE if self.prior.card.words is None else TARGET
        _, edit = self.edit("sdedit", words, strength=1.0, steps=STEPS["sample"])
        spread = edit.raw.std().item()
        figures = f"'{words}', {STEPS['sample']} steps: contrast {spread:.2f}, 0.05 to 1.5"
        return 0.05 < spread < 1.5, figures, edit.picture

    def identity(self) -> Found:
        """An edit with equal prompts: nothing may change."""
        plan, edit = self.edit("dds", SOURCE, steps=STEPS["identity"])
        moved = (edit.raw - plan.placed.before.to(edit.raw)).abs().max().item() * 127.5
        figures = f"moved by {moved:.2f} of 255 steps, at most {STILL}"
        return moved <= STILL, figures, edit.picture

    def change(self) -> Found:
        """An edit with different prompts: something must change."""
        from scumble.core.pixels import psnr, to_pixels

        started = time.perf_counter()
        plan, edit = self.edit("dds", TARGET, steps=STEPS["edit"])
        seconds = time.perf_counter() - started
        distance = psnr(to_pixels(plan.placed.before.to(edit.raw)), to_pixels(edit.raw))
        figures = (
            f"'{SOURCE}' to '{TARGET}', {STEPS['edit']} steps: {distance:.1f} dB from the input, 8 to 60; "
            f"{seconds:.1f} s, {1000 * seconds / edit.evaluations:.0f} ms an evaluation"
        )
        return 8 < distance < 60, figures, edit.picture

    def findings(self) -> Iterator[Finding]:
        """All checks that apply to this kind of model. A check that raises an error has failed."""
        checks = {
            "codec round trip": self.codec,
            "predicted noise": self.noise,
            "sample from noise": self.sample,
        }
        if self.reads:
            checks |= {"identity edit": self.identity, "DDS edit": self.change}
        for name, check in checks.items():
            try:
                yield Finding(name, *check())
            except Exception as error:  # a broken model is what a doctor is called for
                yield Finding(name, False, f"{type(error).__name__}: {error}")


def noise_errors(prior: Prior, image: Tensor, prompt: str) -> dict[Output, list[float]]:
    """Mean squared errors of the predicted noise of `image` (1, 3, H, W) at LEVELS, where noise has variance 1, for
    every prediction type: the one that the prior's schedule states, and all others.
    """
    import torch

    from scumble.core.noise import Noise
    from scumble.core.prediction import PREDICTION_TYPES

    schedule = prior.schedule
    errors: dict[Output, list[float]] = {kind: [] for kind in PREDICTION_TYPES}
    with torch.inference_mode():
        x0, text = prior.encode(image), prior.embed([prompt], size=(image.shape[-2], image.shape[-1]))
        eps = Noise(0).like(x0)
        for share in LEVELS:
            t = schedule.time(int(share * schedule.T), 1)
            x_t, (alpha, sigma) = schedule.mix(x0, eps, t), schedule.at(t)
            p = prior.predict(x_t, t, text)
            a, s = alpha.to(x_t), sigma.to(x_t)
            outputs = {
                "eps": p.eps,
                "v": a * p.eps - s * p.x0,
                "x0": p.x0,
                "flow": p.eps - p.x0,
            }
            out = outputs[schedule.prediction]
            for kind, each in errors.items():
                error = schedule.predict(x_t, t, **{kind: out}).eps - eps
                each.append(error.square().mean().item())
    return errors


def drawn(patient: Patient, findings: Sequence[Finding]) -> Image.Image:
    """The contact sheet: the input, and the result of every check."""
    cells = [Cell(patient.picture, ["input"])]
    for finding in findings:
        if finding.picture is not None:
            words = [finding.name, "PASS" if finding.passed else "FAIL", finding.figures]
            cells.append(Cell(finding.picture, words, mark=not finding.passed))
    return sheet(cells, columns=len(cells), title=f"scumble doctor: {patient.prior.card.id}")


def report(prior: Prior, findings: Sequence[Finding]) -> str:
    """Everything that somebody else needs to know, without paths."""
    from scumble import __version__
    from scumble.core import machine
    from scumble.editing.passport import placeless, versions

    card, loaded = prior.card, dict(prior.loaded)
    device = str(loaded.get("device", "cpu"))
    where = f"{device}, {loaded.get('dtype')}, memory: {', '.join(loaded.get('memory', ())) or 'no setting'}"
    lines = [
        f"scumble {__version__}; {', '.join(f'{name} {version}' for name, version in versions().items())}",
        f"model {placeless(str(loaded.get('name', card.id)))}, hash {card.hash}, licence {card.licence}",
        *(
            f"lora {lora['name']} x {lora['weight']}, sha256 {lora['sha256']}"
            for lora in loaded.get("lora", ())
        ),
        *(f"{key}: {loaded[key]}" for key in ("vae", "embedding", "clip_skip") if loaded.get(key)),
        f"{where}; at most {machine.peak(device) / 1e9:.1f} GB in use",
        *(finding.line for finding in findings),
    ]
    return "\n".join(f"    {line}" for line in lines)


def _shown(image: Any) -> Image.Image:
    from PIL import Image

    from scumble.core.pixels import to_pixels

    return Image.fromarray(to_pixels(image)[0])
