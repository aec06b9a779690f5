"""`scumble doctor` and `scumble fetch`: what they find, and where they put it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import scumble
from scumble import cli
from scumble.bench import checkup, installation
from scumble.core.prediction import PREDICTION_TYPES, Output, Prediction
from scumble.core.schedule import Schedule
from scumble.core.text import Text
from scumble.editing import loading
from scumble.priors import load
from scumble.priors._identity import IdentityCodec
from tests.priors.conftest import folder, write_scheduler  # noqa: F401
from tests.priors.test_hub import Hub, hub  # noqa: F401

NAMES = ["codec round trip", "predicted noise", "sample from noise", "identity edit", "DDS edit"]


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*cannot reproduce this picture", "ignore:.*it is longer than this model"
)


# The model


@pytest.fixture(scope="module")
def findings(model: scumble.Prior) -> dict[str, checkup.Finding]:
    return {finding.name: finding for finding in checkup.Patient(model, lambda plan: plan()).findings()}


@pytest.mark.slow
def test_every_check_gives_figures_and_a_picture(findings: dict[str, checkup.Finding]):
    assert list(findings) == NAMES
    for finding in findings.values():
        assert (finding.picture is None) == (finding.name == "predicted noise")
        assert any(letter.isdigit() for letter in finding.figures)
    assert not findings["codec round trip"].passed, "random weights copy nothing"
    assert findings["identity edit"].passed, "equal prompts change nothing, whatever the weights"


def test_a_broken_model_fails_every_check_it_breaks(model: scumble.Prior, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(model, "predict", fail)
    found = list(checkup.Patient(model, lambda plan: plan()).findings())
    assert [finding.passed for finding in found] == [False] * 5
    assert found[-1].line == "FAIL  DDS edit: RuntimeError: broken"


class Knowing(IdentityCodec):
    """Knows the noise of the one picture there is, and outputs `kind`; its config says `said`."""

    card = scumble.Card(id="knowing", hash="", domain="", size=32, multiple=1)
    device = torch.device("cpu")

    def __init__(self, kind: Any, said: Any):
        self.kind, self.schedule, self.seen = kind, Schedule.scaled_linear(prediction=said), torch.empty(0)

    def encode(self, image: torch.Tensor, noise: object = None) -> torch.Tensor:
        self.seen = image
        return image

    def embed(self, prompts: Any, **_: object) -> Text:
        return Text(tokens=torch.zeros(len(prompts), 1, 1), prompts=tuple(prompts))

    def predict(self, x_t: torch.Tensor, t: torch.Tensor, text: Text, at: Any = None) -> Prediction:
        alpha, sigma = (each.to(x_t) for each in self.schedule.at(t))
        eps = (x_t - alpha * self.seen) / sigma
        out = {"eps": eps, "v": alpha * eps - sigma * self.seen, "x0": self.seen, "flow": eps - self.seen}
        return self.schedule.predict(x_t, t, **{self.schedule.prediction: out[self.kind]})


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
@pytest.mark.parametrize("said", ["eps", "v", "x0"])
def test_a_config_that_says_the_wrong_prediction_type_fails(kind: Output, said: Output):
    knowing: Any = Knowing(kind, said)
    passed, figures, _ = checkup.Patient(knowing, lambda plan: plan()).noise()
    assert passed == (kind == said), figures
    if kind != said:
        assert f"predicts {said}, but its output is {kind}" in figures
        assert PREDICTION_TYPES[kind] in figures


def test_a_still_model_fails_the_edit_and_a_restless_one_the_identity(
    model: scumble.Prior, monkeypatch: pytest.MonkeyPatch
):
    patient = checkup.Patient(model, lambda plan: plan())
    monkeypatch.setattr(checkup, "STEPS", {"identity": 2, "edit": 2})
    monkeypatch.setattr(checkup, "TARGET", checkup.SOURCE)
    assert not patient.change()[0]
    monkeypatch.setattr(checkup, "SOURCE", "another prompt")
    edit = patient.edit
    monkeypatch.setattr(patient, "edit", lambda method, target, **how: edit(method, checkup.TARGET, **how))
    assert not patient.identity()[0]


def test_the_command(
    checkpoint: Callable[..., Path],
    findings: dict[str, checkup.Finding],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(checkup.Patient, "findings", lambda self: iter(findings.values()))
    out = tmp_path / "sheet.png"
    code = cli.run(
        ["doctor", "--model", str(checkpoint(licence="mine")), "-o", str(out), "--memory", "slicing,tiling"]
    )
    printed = capsys.readouterr().out
    assert code == 1
    assert printed.count("FAIL") == 2 * sum(not finding.passed for finding in findings.values())
    pasted = printed[printed.index("to paste") :]
    assert str(tmp_path) not in pasted.partition("\n")[2], "no path is made public"
    for words in ("torch", "licence mine", "float32, memory: slicing, tiling", "hash", *NAMES):
        assert words in pasted
    assert Image.open(out).size[0] > 1000


def test_a_pixel_model_is_spared_the_words(tmp_path: Path):
    from diffusers.models.unets.unet_2d import UNet2DModel

    blocks: dict[str, Any] = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = UNet2DModel(sample_size=16, block_out_channels=(8,), norm_num_groups=4, **blocks)
    unet.save_pretrained(tmp_path / "unet")
    write_scheduler(tmp_path)
    found = list(checkup.Patient(scumble.load(tmp_path), lambda plan: plan()).findings())
    assert [finding.name for finding in found] == NAMES[:3]
    assert found[0].passed, "there is no codec to lose anything"


# The machine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "latent", "operations"),
    [
        ("configs/sd1", 64, installation.OPERATIONS["Stable Diffusion 1.5 at 512 px"]),
        ("builtin/scenes", 16, installation.OPERATIONS["drawings (the built-in model)"]),
    ],
)
def test_operations_are_those_of_the_networks(config: str, latent: int, operations: float):
    file = Path(load.__file__).parent / config / "unet/config.json"
    if not file.is_file():
        pytest.skip("the weights are not in this checkout")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        unet: Any = UNet2DConditionModel.from_config(json.loads(file.read_text()))
        tokens = torch.empty(1, 77 if latent == 64 else 32, unet.config["cross_attention_dim"])
        unet(torch.empty(1, unet.config["in_channels"], latent, latent), torch.empty(1), tokens)
    assert counter.get_total_flops() == pytest.approx(operations, rel=0.01)


def test_the_edits_it_times_are_the_usual_ones():
    for what, (method, evaluations) in installation.USUAL.items():
        page = (Path(__file__).parents[2] / f"docs/methods/{method}.md").read_text(encoding="utf-8")
        assert re.search(rf"\b{evaluations} by default", page), what
    (drawings, _), (photographs, _) = installation.USUAL.values()
    assert photographs == loading.usual_method("owner/name")
    if load.builtin("scenes").is_dir():
        assert drawings == loading.usual_method("scenes")


def test_what_the_machine_can_do(monkeypatch: pytest.MonkeyPatch):
    assert installation.throughput("cpu") > 1e8
    monkeypatch.setattr(installation, "throughput", lambda device: 600e9)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    good, line = installation.ability()
    assert good
    assert (
        "300 GFLOP/s: dds_fast on drawings (the built-in model) about 1 s; dds on Stable Diffusion 1.5 at 512 px "
        "about 36 min" in line
    )


@pytest.mark.parametrize(("seconds", "words"), [(0.1, "1 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations(seconds: float, words: str):
    assert installation.duration(seconds) == words


@pytest.mark.parametrize(
    ("fast", "words"), [(torch.bfloat16, "is fast"), (torch.float32, "is no faster than")]
)
def test_which_precision_is_fast(fast: torch.dtype, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scumble.core.precision.fast_dtype", lambda device="cpu": fast)
    good, line = installation.device()
    assert good
    assert f"bfloat16 {words}" in line


# Fetching ahead


def test_fetch_into_a_folder(
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    to = tmp_path / "copy"
    assert cli.run(["fetch", "owner/name", "--to", str(to)]) == 0
    printed = capfd.readouterr()
    assert printed.out == f"{to}\n"
    assert "GB of owner/name (licence: openrail) to" in caplog.text
    assert f"--model {to}" in printed.err
    assert scumble.load(to, device="cpu").card.licence == "openrail"
    assert not hub.cache.exists()


def test_fetch_into_the_cache(hub: Hub, capfd: pytest.CaptureFixture[str]):  # noqa: F811
    assert cli.run(["fetch", "owner/name"]) == 0
    assert capfd.readouterr().out == f"{hub.cache}\n"
    assert scumble.load("owner/name", device="cpu", offline=True).card.id == "owner/name"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "there is no such built-in model"),
        (["scenes", "--to", "x"], "only a model of the hub"),
        (["owner/name", "--to", __file__], "a file is in the way"),
    ],
)
def test_fetching_what_cannot_be_fetched(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["fetch", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_what_a_load_would_download(hub: Hub):  # noqa: F811
    assert "GB of owner/name (licence: openrail)" in str(load.outstanding("owner/name"))
    assert not hub.weights
    load.find("owner/name")
    assert load.outstanding("owner/name") is None
    assert load.outstanding("scenes") is None
