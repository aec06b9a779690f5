"""Training an editor with a score's gradient at its output, without pairs (DDS, arXiv:2304.07090, section 4).

    minimise  <g(z, task), grad>  +  identity |g(z, task) - z|^2,     grad = score(g(z, task), t, eps), constant

Every draw is keyed by (seed, step, position in the global batch): a resumed run draws what the uninterrupted one would
have, and several processes draw what one would.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.core.precision import fast_dtype
from scumble.core.prior import Prior
from scumble.core.request import pull
from scumble.networks.editor import KIND, WEIGHTS, Editor, probe_picture, task_vector, warmed
from scumble.train.accelerating import check_trackers, new_accelerator
from scumble.train.editor_data import Examples, examples
from scumble.train.editor_loss import Batch, Texts, draw, guidance, identity, rate, score
from scumble.train.editor_recipe import EditorRecipe
from scumble.train.place import alone, log_of

log = logging.getLogger(__name__)


class EditorRun:
    """The state of a training: network, optimiser, running average, step; checkpoints and log in `folder`.

    Raises InputError for a checkpoint of another recipe or codec.
    """

    def __init__(self, recipe: EditorRecipe, prior: Prior, data: Examples, folder: Path, accelerator: Any):
        self.recipe, self.prior, self.data, self.folder = recipe, prior, data, folder
        self.accelerator = accelerator
        torch.manual_seed(recipe.training.seed)  # the initial weights; nothing else draws from it
        self.texts = Texts(prior, data.canvas)
        width = task_vector(self.texts([""])).shape[1] if recipe.network.text else 0
        with torch.no_grad():
            probe = prior.encode(probe_picture())
        config = recipe.network.config(data.latents.shape[1], width)
        about = {"name": recipe.name, "prior": prior.card.id, "prior_hash": prior.card.hash}
        self.model = Editor(config, recipe.tasks, probe=probe, about=about)
        if recipe.network.warm:
            log.info("editor: %d values start from the prior's own U-Net", warmed(self.model, prior))
        t = recipe.training
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=t.rate, betas=(0.9, 0.99), weight_decay=t.decay
        )
        self.network, self.optimiser = accelerator.prepare(self.model, optimiser)
        self.average = [p.detach().clone() for p in self.model.parameters()]
        self.step = 0
        self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "editor.resume.pt"

    def train(self, on_step: Callable[[int], None] | None = None) -> None:
        """All steps that are left. A checkpoint is written at the end, every `save_every` steps, and if interrupted."""
        t = self.recipe.training
        began, first = time.monotonic(), self.step
        try:
            while self.step < t.steps:
                shown = self._update()
                self.step += 1
                if self.step % t.log_every == 0 or self.step == t.steps:
                    left = (time.monotonic() - began) / (self.step - first) * (t.steps - self.step)
                    self._log(shown, left)
                if self.step % t.grid_every == 0 or self.step == t.steps:
                    self._grid()
                if self.step % t.save_every == 0 or self.step == t.steps:
                    self.save()
                if on_step is not None:
                    on_step(self.step)
        except KeyboardInterrupt:
            self.save()
            raise

    def _update(self) -> dict[str, float]:
        t, loss = self.recipe.training, self.recipe.loss
        for group in self.optimiser.param_groups:
            group["lr"] = rate(self.recipe, self.step)
        sums: dict[str, Any] = {}
        for k in range(t.accumulate):
            batch = draw(self.data, self.recipe, self.step, self._positions(k))
            terms = self._terms(batch)
            total = torch.stack(list(terms.values())).sum()
            self.accelerator.backward(total / t.accumulate)
            for name, value in {"loss": total, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / t.accumulate
        # one transfer: an accelerator stops for each
        means = self.accelerator.reduce(torch.stack(list(sums.values())), "mean").tolist()
        found: dict[str, float] = dict(zip(sums, means, strict=True))
        if not math.isfinite(found["loss"]):
            raise InputError(
                f"editor: the loss is not finite at step {self.step + 1}; the last good checkpoint is "
                f"{self.checkpoint if self.checkpoint.exists() else 'none'}. Lower the rate or the guidance, or set "
                "training: precision: float32"
            )
        self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        keep = min(t.ema, (1 + self.step) / (10 + self.step))
        for average, p in zip(self.average, self.model.parameters(), strict=True):
            average.lerp_(p.detach(), 1 - keep)
        return found | {"guidance": guidance(loss, self.step), "identity_weight": identity(loss, self.step)}

    def _positions(self, k: int) -> range:
        """This process's rows of the k-th part of the global batch."""
        size, accelerator = self.recipe.training.batch, self.accelerator
        first = (k * accelerator.num_processes + accelerator.process_index) * size
        return range(first, first + size)

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss, weighted; each a mean over the batch and the latent's elements."""
        loss, device = self.recipe.loss, self.accelerator.device
        z, tasks = batch.z.to(device), batch.tasks.to(device)
        on_device = Batch(z, tasks, batch.source, batch.target, batch.t, batch.noise, batch.owns)
        asked = task_vector(self.texts(batch.target)).to(device) if self.recipe.network.text else tasks
        with self.accelerator.autocast():
            x = self.network(z, asked).float()
        with torch.no_grad():
            delta = score(self.prior, loss, on_device, self.texts, guidance(loss, self.step))(
                x.detach(), batch.t, batch.noise
            )
        asked = (~batch.owns).to(x).reshape(-1, 1, 1, 1)
        moved = (x - z).square()
        terms = {
            "score": pull(x, delta * asked) / x.numel(),
            "identity": identity(loss, self.step) * (moved * asked).mean(),
        }
        if loss.own:
            terms["own"] = loss.own * (moved * (1 - asked)).mean()
        if loss.cycle:
            terms["cycle"] = loss.cycle * self._cycle(z, x, tasks, asked)
        return terms

    def _cycle(self, z: Tensor, x: Tensor, tasks: Tensor, asked: Tensor) -> Tensor:
        """|g(g(z, task), reverse) - z|^2 of the rows whose task has a reverse and asks for a change: where the target
        is there already, the way back leads elsewhere.
        """
        names = [task.name for task in self.recipe.tasks]
        back = [names.index(self.recipe.reverse.get(name, name)) for name in names]
        has = torch.tensor([name in self.recipe.reverse for name in names])
        rows = has[tasks.cpu()].to(x).reshape(-1, 1, 1, 1)
        with self.accelerator.autocast():
            returned = self.network(x, torch.tensor(back).to(tasks)[tasks]).float()
        return ((returned - z).square() * rows * asked).mean()

    # What is written

    def _log(self, shown: dict[str, float], left: float) -> None:
        if not self.accelerator.is_main_process:
            return
        row = {"step": self.step, **{k: round(v, 6) for k, v in shown.items()}}
        with (self.folder / "editor.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.accelerator.log(shown, step=self.step)
        log.info(
            "editor: step %d of %d, %.0f s left, %s",
            self.step,
            self.recipe.training.steps,
            left,
            json.dumps(row),
        )

    def _grid(self) -> None:
        """A sheet of held-out pictures, each with every task."""
        if self.accelerator.is_main_process and len(self.data.held_out):
            from scumble.train.editor_card import grid

            (self.folder / "grids").mkdir(exist_ok=True)
            grid(self.averaged(), self.prior, self.data).save(self.folder / "grids" / f"{self.step:06}.png")

    def averaged(self) -> Editor:
        """A copy of the editor with the running average of its weights, in evaluation mode."""
        made = Editor(self.model.config, self.model.tasks, probe=self.model.probe, about=self.model.about)  # pyright: ignore[reportArgumentType]
        for p, average in zip(made.parameters(), self.average, strict=True):
            p.data.copy_(average)
        return made.to(self.accelerator.device).requires_grad_(False).eval()

    def save(self) -> None:
        """Writes the checkpoint, complete or not at all; the last one stays where that fails (MachineError)."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "recipe": self._key(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
        }
        with atomic(self.checkpoint) as part:
            torch.save(state, part)

    def _key(self) -> str:
        """What a resumed run must agree in: everything but how often it writes, how precisely it computes and how long
        it runs: a run can be prolonged until its rate has cooled down, or cooled down early.
        """
        said = self.recipe.to_json()
        for name in ("save_every", "grid_every", "log_every", "trackers", "precision", "steps"):
            said["training"].pop(name)
        return json.dumps(said, sort_keys=True)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.accelerator.device, weights_only=True)
        then, now = json.loads(state["recipe"]), json.loads(self._key())
        then["training"].pop("steps", None)  # a checkpoint from before runs could be prolonged
        changed = [name for name in now if then.get(name) != now[name]]
        if changed:
            raise InputError(
                f"{self.checkpoint}: this run began with another recipe (changed: {', '.join(changed)}). Take the old "
                "one, or another output folder for a new run."
            )
        if not torch.allclose(state["model"]["probe"].cpu(), self.model.probe.cpu(), atol=0.05):  # pyright: ignore[reportCallIssue, reportArgumentType, reportAttributeAccessIssue, reportUnknownMemberType]
            raise InputError(f"{self.checkpoint}: made with another codec; use the model that it began with")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
        if self.step > self.recipe.training.steps:
            raise InputError(
                f"training: steps: {self.recipe.training.steps}; this run has taken {self.step} already: ask for at "
                "least so many, or take another output folder"
            )
        log.info("editor: goes on from step %d", self.step)


def train_editor(
    recipe: EditorRecipe,
    out: Path,
    *,
    folder: Path,
    prior: Prior | None = None,
    skip_bad: bool = False,
    watch: Callable[[EditorRun], None] | None = None,
) -> Path:
    """Train the recipe's editor, or go on where a run was cut off; the editor is the folder `out`.

    `out`.log has log, grids and checkpoints. Paths in the recipe are relative to `folder`. prior: instead of the one
    that the recipe names. watch: called with the run after every step. Raises InputError as the recipe's checks, the
    data and the checkpoint do, and for an `out` that holds something else than an editor.
    """
    check_trackers(recipe.training.trackers)
    logs = log_of(out, "editor", kind=KIND, weights=WEIGHTS)
    with alone(out):
        logs.mkdir(exist_ok=True)
        return _train(recipe, out, logs, folder=folder, prior=prior, skip_bad=skip_bad, watch=watch)


def _train(
    recipe: EditorRecipe,
    out: Path,
    logs: Path,
    *,
    folder: Path,
    prior: Prior | None,
    skip_bad: bool,
    watch: Callable[[EditorRun], None] | None,
) -> Path:
    from scumble.editing.loading import load
    from scumble.editing.recipe import Loading
    from scumble.train.editor_card import write_card

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = recipe.training.precision
    half = wanted == "bfloat16" or (wanted == "auto" and fast_dtype(device) == torch.bfloat16)
    accelerator = new_accelerator(
        mixed_precision="bf16" if half else "no", cpu=device == "cpu", log_with=list(recipe.training.trackers) or None,
        project_dir=logs,
    )  # fmt: skip
    accelerator.init_trackers("editor")
    # float32 is the advice for a loss that is not finite, so it holds for the prior as well.
    dtype = "float32" if wanted == "float32" else "auto"
    prior = prior or load(Loading(recipe.prior, device=str(accelerator.device), dtype=dtype))
    if "text" not in prior.card.capabilities:
        raise InputError(f"prior: {prior.card.id!r} takes no text; an editor is taught by prompts")
    data = examples(recipe, prior, folder, skip_bad=skip_bad)
    run = EditorRun(recipe, prior, data, logs, accelerator)
    run.train(None if watch is None else lambda _: watch(run))
    accelerator.end_training()
    if accelerator.is_main_process:
        write_card(run.averaged(), recipe, data, prior, out)
    return out
