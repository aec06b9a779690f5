"""What a method costs is what its page says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.methods import METHODS, get
from scumble.priors.exact import GaussianPrior
from scumble.priors.stable_diffusion import StableDiffusionPrior

from . import judges, tiny, trained

PAGES = Path(__file__).parents[2] / "docs/methods"
SETTINGS: dict[str, dict[str, object]] = {  # what does not change the cost, or what it is at most
    "ilvr": {"factor": 4},
    "masactrl": {"layer": 3},
    "nfsd": {"bad": ""},
    "null_text": {"early_stop": 0.0, "growth": 0.0},
    "pix2pix_zero": {"rounds": 0},
    "plug_and_play": {"feature_block": 2},
    "sbp": {"good": "", "bad": ""},
}
TENTH = {"cds", "ids", "nfsd", "sbp"}  # long ones, whose cost is so much a step: a tenth of the steps will do
PICTURE = Noise(0).like(torch.empty(1, 3, 8, 8)) / 3


def said(name: str) -> int:
    """The evaluations of an edit with default values, as the method's page has them."""
    cost = (
        (PAGES / f"{name}.md").read_text(encoding="utf-8").partition("\n## Cost\n")[2].partition("\n## ")[0]
    )
    found = re.search(r"[,:]\s(\d{2,}|0)\b", cost)
    assert found, f"{name}.md does not say what an edit costs"
    return int(found[1])


def test_the_readme_says_the_same() -> None:
    readme = (PAGES.parents[1] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[?`(\w+)`.*\| ([\d,]+) \|$", readme, re.MULTILINE)
    assert len(rows) >= 10
    assert {name: int(figure.replace(",", "")) for name, figure in rows} == {n: said(n) for n, _ in rows}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPrior:
    return StableDiffusionPrior.from_pretrained(tiny.save(tmp_path_factory.mktemp("tiny")), device="cpu")


def closed_form() -> GaussianPrior:
    """Its prompts differ to the left, strongly in one corner."""
    a = torch.zeros(3, 8, 8)
    b = a.clone()
    b[:, :, :4], b[:, 0, 0] = 0.3, 2.0
    return GaussianPrior({"": a, "a": a, "b": b}, 0.5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.slow if get(name).needs.control or name in ("repaint", "null_text") else (),
        )
        for name in METHODS
    ],
)
def test_an_edit_takes_as_many_evaluations_as_its_page_says(name: str, network: StableDiffusionPrior) -> None:
    kind = get(name)
    prior: Prior = network if kind.needs.control else closed_form()
    method, parts = kind(**SETTINGS.get(name, {})), 10 if name in TENTH else 1
    if name == "editor":  # it asks the model nothing
        return
    method = replace(method, steps=method.steps // parts)
    also: dict[str, torch.Tensor] = {"mask": PICTURE[:, :1].sign().relu()} if kind.needs.mask else {}
    also |= {"reference": -PICTURE} if kind.needs.reference else {}
    request = EditRequest(image=PICTURE, source="a", target="b", **also)
    make = trained.given(kind.needs.given, prior) or judges.given
    edit = method(prior, replace(request, given=make(request)))
    assert edit.evaluations * parts == said(name)
