"""What an editor's folder says and shows: its model card, its recipe, and sample sheets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scumble.core.atomic import atomic
from scumble.core.pixels import to_pixels
from scumble.core.prior import Prior
from scumble.networks.editor import Editor, task_vector
from scumble.train.editor_data import Examples
from scumble.train.editor_recipe import EditorRecipe

if TYPE_CHECKING:
    from PIL import Image


@torch.no_grad()
def grid(editor: Editor, prior: Prior, data: Examples) -> Image.Image:
    """Held-out pictures, one a row: decoded as they are, then by every task that fits it."""
    from PIL import Image as Pillow

    from scumble.pictures.sheets import Cell, blank, panel, sheet

    device = next(editor.parameters()).device
    cells: list[Cell] = []
    for row in data.held_out:
        z = data.latents[row : row + 1].float().to(device)
        said = {match.task: match.target for match in data.matches[row]}
        shown = [z, *(z for _ in said)]
        if editor.config.text:
            asked: Any = task_vector(prior.embed(list(said.values()))).to(device)
        else:
            asked = torch.tensor(list(said), device=device)
        x = torch.cat([z, editor(z.expand(len(said), -1, -1, -1), asked)])
        pictures = to_pixels(prior.decode(x))
        names = ["input", *(editor.tasks[k].name for k in said)]
        for picture, name, caption in zip(pictures, names, [data.captions[row], *said.values()], strict=True):
            cells.append(Cell(panel(Pillow.fromarray(picture), 128, 256), [name, caption]))
        cells += [blank()] * (len(editor.tasks) + 1 - len(shown))
    return sheet(cells, columns=len(editor.tasks) + 1)


def write_card(editor: Editor, recipe: EditorRecipe, data: Examples, prior: Prior, out: Path) -> None:
    """Writes the editor, its recipe as JSON, a sample sheet and README.md into `out`."""
    editor.about |= {
        "prior": prior.card.id,
        "prior_hash": prior.card.hash,
        "licence": prior.card.licence,
        "pictures": data.count,
        "unfit": data.unfit,
        "recipe": json.loads(json.dumps(recipe.to_json())),
    }
    editor.save(out)
    if len(data.held_out):
        sheet = grid(editor, prior, data)
        with atomic(out / "samples.png") as part:
            sheet.save(part, "PNG")
    with atomic(out / "README.md") as part:
        part.write_text(_card(editor, recipe, data, prior), encoding="utf-8")


def _card(editor: Editor, recipe: EditorRecipe, data: Examples, prior: Prior) -> str:
    tasks = "\n".join(f"| {task.name} | {task.source} | {task.target} |" for task in editor.tasks)
    size = sum(p.numel() for p in editor.parameters())
    loss = recipe.loss
    return f"""# {recipe.name}

An editor: it changes a picture in one forward pass. Trained by scumble from the gradient of {loss.score.upper()}
(Hertz et al. 2023, section 4), without pairs of pictures.

| | |
|---|---|
| prior | {prior.card.id} (hash {prior.card.hash[:16]}), licence {prior.card.licence} |
| pictures | {data.count} that fit a task; {data.unfit} that fit none were left out |
| network | {size:,} parameters, widths {list(editor.config.widths)} |
| training | {recipe.training.steps} steps of {recipe.training.batch * recipe.training.accumulate} pictures a process |
| guidance | {loss.guidance[0]:g} to {loss.guidance[1]:g} over {loss.warm_up} steps |
| identity term | {loss.identity[0]:g} to {loss.identity[1]:g} over {loss.identity_steps} steps |

| task | from | to |
|---|---|---|
{tasks}

Use: `scumble apply {recipe.name} in.png --task {editor.tasks[0].name}`. It works on latents of the prior's codec, and
knows what its pictures showed: {prior.card.domain.rstrip(".")}.

The whole recipe:

```json
{json.dumps(asdict(recipe), indent=1)}
```
"""
