"""SDXL, SD3 and FLUX.1 on tiny networks: each prior conforms, each method runs or says why not."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.job import unable
from scumble.core.prior import Prior
from scumble.editing.abilities import abilities, reasons
from scumble.methods import METHODS, get
from scumble.priors.load import load_prior
from scumble.testing import check_prior, picture
from scumble.testing._requests import requests
from tests.priors.families import MAKERS, save

from .test_conformance import SHORT

ROOT = Path(__file__).parents[2]
ALONE = [row[0] for row in abilities()[0][1:] if row[0] in METHODS and "given" not in row]
GUIDANCE = ("guidance", "source_guidance", "inversion_guidance")


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prior]:
    """Of every family, on canvases of 32 px."""
    made: dict[str, Prior] = {}
    for name, make in MAKERS.items():
        folder = save(make(), tmp_path_factory.mktemp("families") / name)
        (folder / "card.json").write_text(json.dumps({"size": 32}))
        made[name] = load_prior(str(folder), device="cpu")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("family", MAKERS)
def test_the_priors_conform(family: str, priors: dict[str, Prior]) -> None:
    check_prior(priors[family], dtype=torch.float32, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name"),
    [
        *product(("sdxl", "sd3", "flux"), ALONE),
        *(("schnell", name) for name in ("flowedit", "npi")),
        *(("pixart", name) for name in ("dds", "edit_friendly", "null_text", "p2p")),
        *(("zimage", name) for name in ("dds", "flowedit", "npi", "repaint", "p2p", "masactrl", "cds")),
        *(("qwen", name) for name in ("flowedit", "null_text", "p2p", "masactrl", "cds")),
        *(("sana", name) for name in ("flowedit", "masactrl")),
        *(("klein", name) for name in ("flowedit", "p2p", "ledits_pp")),
        *(("klein4", name) for name in ("flowedit", "npi")),
        *(("flux2", name) for name in ("flowedit", "masactrl", "cds")),
    ],
)
def test_methods_run_or_say_why_not(family: str, name: str, priors: dict[str, Prior]) -> None:
    prior, Method = priors[family], get(name)
    settings: dict[str, Any] = {**SHORT.get(name, {"steps": 4})}
    why = unable(Method.__name__, Method.needs, prior.card)
    if name == "masactrl" and family != "sdxl":  # these tiny networks have two or three layers
        settings["layer"] = 1
    if prior.card.guidance == "none" and not why:
        known = Method.__dataclass_fields__
        settings |= {key: 1.0 for key in GUIDANCE if key in known}
    method = Method(**settings)
    request = requests(method, prior, "a", "b", True, torch.float32, None)
    if why:
        with pytest.raises(InputError, match=re.escape(why)):
            method(prior, request())
        return
    if name == "diffedit" and family != "sdxl":  # random weights: the prompts disagree nowhere
        with pytest.raises(InputError, match="the prompts disagree nowhere"):
            method(prior, request())
        return
    edit = method(prior, request())
    assert edit.raw.shape == picture(prior, dtype=torch.float32).shape
    assert bool(edit.raw.isfinite().all())
    assert not torch.equal(edit.latent, prior.encode(request().image))  # pyright: ignore[reportArgumentType]
    again = method(prior, request())
    assert torch.equal(edit.latent, again.latent), "the same seed gives the same result"


def test_refusals_are_said_once_for_each_reason() -> None:
    _, refused = abilities()
    said = reasons(refused)
    assert len(said) < len(refused) / 2
    for pair in refused:
        method, _, kind = pair.partition(", ")
        (line,) = (
            line
            for line in said
            if line.startswith(f"{method} on ")
            and kind in line.partition(": ")[0].split(" on ")[1].split(", ")
        )
        assert "which it does not have" in line or "it was trained to run without one" in line


def test_the_page_shows_the_table() -> None:
    """docs/models.md is what `scumble models --table` prints."""
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    for row in abilities()[0]:
        line = f"| {' | '.join(row)} |"
        assert line in page, f"docs/models.md: write {line} into the table"
