"""The model card of a trained prior: README.md with gates and recipe, a sample grid, an edit grid, the loss curves."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np

from scumble.core.prior import Prior
from scumble.methods.dds import DDS
from scumble.priors.load import load_prior
from scumble.scenes import edits, full_caption, render, scenes

from .data import SIDE
from .gates import FIRST_KINDS, Figure, edit_scenes, measure, sample
from .prior import METHOD, UPSCALER, recommended

ASKED = {
    "codec_psnr_db": "codec round trip, PSNR in dB",
    "codec_psnr_db.5th": "the same, 5th percentile",
    "codec_read": "attributes that the parser reads rightly on the codec's pictures",
    "inversion_psnr_db": "DDIM inversion with the full caption and back, guidance 1, 50 steps, "
    "PSNR in dB to the codec's own picture",
    "samples_right.1": "one-object captions with all named attributes right (50 DDIM steps)",
    "samples_right.2": "two-object captions with all named attributes of both objects right (50 DDIM steps)",
}
BOUNDS = {
    "codec_psnr_db": ">= 36",
    "codec_psnr_db.5th": ">= 31",
    "codec_read": ">= 0.985",
    "inversion_psnr_db": ">= 32",
    "samples_right.1": ">= 0.90",
    "samples_right.2": ">= 0.75",
}


def make_card(folder: Path, *, guidance: float, scale: float = 1.0, dtype: str = "auto") -> dict[str, object]:
    """Measures a prior's gates, writes its card, and makes `guidance` what it recommends; returns the gates.

    The card keeps the method and the stage that it names; one that names none gets the recipe's. scale: share of the
    full sample counts (1,000 pictures, 1,000 captions, 200 inversions, 200 edits).
    """
    path = folder / "card.json"
    card = json.loads(path.read_text())
    card["recommended"] = recommended(guidance)
    card.setdefault("method", METHOD)
    card.setdefault("upscaler", UPSCALER)
    path.write_text(json.dumps(card, indent=1) + "\n")
    prior = load_prior(str(folder), dtype=dtype)
    gates = measure(prior, guidance=guidance, scale=scale)
    write_card(folder, prior, gates)
    return gates


def write_card(folder: Path, prior: Prior, gates: dict[str, object]) -> None:
    """Writes README.md, gates.json, samples.png, edits.png and loss.png into a prior's folder."""
    from PIL import Image

    guidance = float(str(gates["guidance"]))
    Image.fromarray(sample_grid(prior, guidance)).save(folder / "samples.png", optimize=True)
    Image.fromarray(edit_grid(prior, guidance)).save(folder / "edits.png", optimize=True)
    loss_curves(folder)
    (folder / "gates.json").write_text(json.dumps(gates, indent=1, default=vars) + "\n")
    (folder / "README.md").write_text(_page(folder, gates))


def sample_grid(prior: Prior, guidance: float, rows: int = 4, columns: int = 8) -> np.ndarray:
    """Samples of full test captions; under each row of samples, the true pictures of those captions."""
    drawn = list(islice(scenes("test", 5), rows * columns))
    made = sample(prior, [full_caption(s) for s in drawn], guidance=guidance, seed=5)
    true = [render(s, SIDE) for s in drawn]
    lines = [
        line for i in range(0, len(drawn), columns) for line in (made[i : i + columns], true[i : i + columns])
    ]
    return np.concatenate([np.concatenate(line, 1) for line in lines])


def edit_grid(prior: Prior, guidance: float, columns: int = 8) -> np.ndarray:
    """Rows: source, DDS at the card's guidance, true edit; the first test edits as they come."""
    drawn = list(islice(edits("test", 6, FIRST_KINDS), columns))
    _, made = edit_scenes(prior, DDS(guidance=guidance), drawn, batch=columns)
    pictures = [e.pictures(SIDE) for e in drawn]
    lines = [[p for p, _ in pictures], made, [t[0] for _, t in pictures]]
    return np.concatenate([np.concatenate(line, 1) for line in lines])


def loss_curves(folder: Path) -> None:
    """loss.png from codec.jsonl and denoiser.jsonl, as far as they are there."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    logs = [p for p in (folder / "codec.jsonl", folder / "denoiser.jsonl") if p.exists()]
    figure, axes = plt.subplots(1, max(len(logs), 1), figsize=(9, 3), squeeze=False)
    for axis, path in zip(axes[0], logs, strict=False):
        rows = [row for line in path.read_text().splitlines() if "loss" in (row := json.loads(line))]
        axis.plot([r["pictures"] / 1000 for r in rows], [r["loss"] for r in rows])
        axis.set(title=path.stem, xlabel="thousand pictures seen", ylabel="training loss", yscale="log")
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=80)
    plt.close(figure)


def _page(folder: Path, gates: dict[str, object]) -> str:
    card = json.loads((folder / "card.json").read_text())
    recipe = json.loads((folder / "recipe.json").read_text())
    dds = gates["dds"]
    assert isinstance(dds, dict)
    rows = [f"| {ASKED[k]} | {BOUNDS[k]} | {_said(gates[k])} |" for k in ASKED]
    kinds = " / ".join(FIRST_KINDS)
    rows.append(f"| DDS, 200 steps, success on {kinds} | >= 0.80 (aim) | {_said(dds['success'])} |")
    rows += [f"| {k.replace('.', ', ')} | | {_said(v)} |" for k, v in dds.items() if k != "success"]
    seen = {
        p.stem: json.loads(p.read_text().splitlines()[-1])
        for p in sorted(folder.glob("*.jsonl"))
        if p.stat().st_size
    }
    data = "; ".join(
        f"{name.replace('-', ' ')}: {r['pictures']:,} pictures in {r['minutes']:.0f} minutes"
        for name, r in seen.items()
    )
    return f"""# scenes

A text-to-image latent diffusion model that draws {card["domain"]}. It knows nothing else: no photographs.

Licence: {card["licence"]}. Words it knows: {", ".join(card["words"])}.
Recommended guidance: {gates["guidance"]}. Where no method is named, `{card["method"]}` edits.

Made by `scumble train prior` from nothing but the generator in `scumble.scenes`. {data}.

## Gates

Measured on the test split, whose seeds and held-out (colour, shape) pairs are not trained on: mean, standard
deviation between samples, number of samples.

| what | bound | measured |
|---|---|---|
{chr(10).join(rows)}

An edit succeeds when at most a quarter of the source's squared error to the true edit is left inside the true mask.

![Samples above the true pictures of their captions](samples.png)

![Source, DDS, true edit](edits.png)

![Training loss](loss.png)

## Recipe

```json
{json.dumps(recipe, indent=1)}
```
"""


def _said(figure: object) -> str:
    assert isinstance(figure, Figure)
    return f"{figure.mean:.3g} (std {figure.std:.2g}, n = {figure.count})"
