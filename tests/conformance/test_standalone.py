"""The plain page of examples/ and the library are the same algorithm."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.methods.dds import DDS
from scumble.priors.stable_diffusion import StableDiffusionPrior

from . import tiny

PAGE = Path(__file__).parents[2] / "examples/dds_standalone.py"


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_page_is_the_library(prediction: str, tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "tiny", prediction)
    page = runpy.run_path(str(PAGE))
    image = Noise(3).like(torch.empty(1, 3, 16, 16)).clamp(-1, 1)
    settings = {"steps": 12, "guidance": 4.0}
    theirs = page["dds"](page["Model"](folder), image, "a cat", "a tiger", seed=9, **settings)
    prior = StableDiffusionPrior.from_pretrained(str(folder), device="cpu", dtype="float32")
    request = EditRequest(image=image, source="a cat", target="a tiger", seed=9)
    ours = DDS(**settings)(prior, request)
    assert float((ours.latent - prior.encode(image)).abs().max()) > 0.01
    torch.testing.assert_close(ours.latent, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_the_page_runs_by_itself_and_does_not_know_the_library(tmp_path: Path) -> None:
    assert "import scumble" not in PAGE.read_text()
    assert "from scumble" not in PAGE.read_text()
    folder = tiny.save(tmp_path / "tiny")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "in.png")
    arguments = [folder, tmp_path / "in.png", tmp_path / "out.png", "--source=a", "--target=b", "--steps=2"]
    subprocess.run([sys.executable, str(PAGE), *map(str, arguments)], check=True)
    assert Image.open(tmp_path / "out.png").size == (16, 16)
