"""Which inversion and which editor are two choices: every kind serves every editor."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from scumble.artifacts.inversion import Inversion
from scumble.core.job import Job
from scumble.core.noise import Noise
from scumble.core.prior import Card
from scumble.core.request import EditRequest
from scumble.inversions import KINDS, Inverter, RegularisedInverter
from scumble.loops.regularise import Regularisation
from scumble.methods import get
from scumble.priors.stable_diffusion import StableDiffusionPrior
from tests.conformance import tiny

STEPS, W = 2, 2.0
EDITORS: dict[
    str, tuple[int, dict[str, object]]
] = {  # by name: evaluations from an inversion on, and settings
    "ddim_inversion": (2 * STEPS, {}),
    "direct_inversion": (4 * STEPS, {}),
    "diffedit": (2 + 2 * STEPS, {"draws": 1, "threshold": 0.3, "strength": 1.0}),
    "masactrl": (4 * STEPS, {"layer": 0}),
    "npi": (2 * STEPS, {}),
    "null_text": (2 * STEPS, {}),
    "p2p": (4 * STEPS, {"self_stride": 1, "blend": "cat | dog"}),
    "pix2pix_zero": (6 * STEPS, {}),
    "plug_and_play": (3 * STEPS, {"feature_block": 0, "attention_layer": 0}),
}
REQUEST = EditRequest(
    image=Noise(1).like(torch.empty(1, 3, 8, 16)).clamp(-1, 1), source="a cat", target="a dog"
)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny.save(tmp_path_factory.mktemp("tiny"))
    prior: Any = StableDiffusionPrior.from_pretrained(str(folder), device="cpu", dtype="float32")
    able = frozenset({"text", "control", "gradient"})
    prior._card = lambda: Card(id="tiny", hash="", domain="Noise.", size=16, multiple=4, capabilities=able)
    return prior


def inverter(kind: str) -> Inverter:
    if kind == "regularised":  # random weights predict no noise that could be made white
        return RegularisedInverter(steps=STEPS, values=Regularisation(auto_correlation=0, kl=0))
    return KINDS[kind](STEPS, W)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_serves_every_editor(kind: str, prior: Any) -> None:
    maker = get("sdedit")()
    with torch.no_grad():
        inversion = inverter(kind)(Job(maker, prior, REQUEST, None), 1)
    for name, (evaluations, settings) in EDITORS.items():
        edit = get(name)(steps=STEPS, guidance=W, **settings)(prior, with_given(inversion))
        assert edit.raw.isfinite().all(), name
        assert edit.evaluations == evaluations, name  # the way up is not walked again


def with_given(inversion: Inversion) -> EditRequest:
    return replace(REQUEST, given={"inversion": inversion})
