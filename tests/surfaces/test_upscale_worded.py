"""`scumble upscale` by a stage that takes text: the second stage of a cascade of IF's shape, in miniature."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel
from PIL import Image

from scumble.core.pixels import to_images, to_pixels
from scumble.editing.cascade import Stage, draw
from scumble.editing.enlarging import Enlarging, enlarged, sigma
from scumble.pictures.reading import read, read_passport
from scumble.priors.deepfloyd import IFPrior
from tests.parity.test_cascade import BARE, scheduler, unet
from tests.priors.families import t5, t5_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations
PROMPT, NEGATIVE = "A red circle", "ugly"
DEEP: dict[str, Any] = {
    "in_channels": 6, "class_embed_type": "timestep", "sample_size": 64, "block_out_channels": (8, 8, 16, 16),
    "down_block_types": ("ResnetDownsampleBlock2D",) * 3 + ("SimpleCrossAttnDownBlock2D",),
    "up_block_types": ("SimpleCrossAttnUpBlock2D",) + ("ResnetUpsampleBlock2D",) * 3,
}  # fmt: skip
"""Sides of its pictures are multiples of 8."""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("if") / "IF-II-tiny"
    torch.manual_seed(1)
    pipe = IFSuperResolutionPipeline(
        tokenizer=t5_tokenizer(), text_encoder=t5().eval(), scheduler=scheduler(), unet=unet(**DEEP), **BARE,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe, folder


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: tuple[Any, Path],
) -> Run:
    """run(words...): `scumble upscale` of in.png, 32x24 pixels, by the tiny stage in 3 steps."""
    from scumble.cli import run as cli

    monkeypatch.chdir(tmp_path)
    Image.fromarray((np.random.default_rng(0).random((24, 32, 3)) * 255).astype(np.uint8)).save("in.png")

    def call(*words: object, prompt: str | None = PROMPT, image: str = "in.png") -> tuple[int, str, str]:
        capsys.readouterr()
        said = [] if prompt is None else ["--prompt", prompt]
        usual = ["upscale", image, "--stage", second[1], "--steps", 3, "--device", "cpu", *said]
        code = cli([str(word) for word in [*usual, *words]])
        heard = capsys.readouterr()
        return code, heard.out, heard.err

    return call


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_command_is_the_published_pipeline(run: Run, second: tuple[Any, Path]) -> None:
    code, out, err = run("--negative", NEGATIVE, "--seed", 3, "--json", "-o", "large.png")
    assert code == 0, err
    about = json.loads(out)
    assert about["size"] == [128, 96]
    pipe, folder = second
    given = to_images(pixels("in.png")[None].astype(np.uint8))
    theirs = pipe(
        PROMPT, negative_prompt=NEGATIVE, image=given, height=96, width=128,
        num_inference_steps=3, guidance_scale=4.0, noise_level=250, output_type="pt",
        generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip
    assert np.abs(pixels("large.png") - to_pixels(theirs.clamp(-1, 1))[0]).max() <= 1
    held = read_passport(Path("large.png"))
    assert held is not None
    prior = IFPrior.from_pretrained(folder)
    assert held["upscale"] == {
        "factor": 4, "prompt": PROMPT, "negative": NEGATIVE, "steps": 3, "guidance": 4.0, "noise_level": 250,
        "level": round(sigma(prior, 250), 6), "seed": 3,
        "stage": {"name": "IF-II-tiny", "id": "IF-II-tiny", "hash": prior.card.hash},
    }  # fmt: skip
    assert held["method"] == "upscale"
    assert "3/3 steps" in err


def test_every_value_is_heard(run: Run) -> None:
    made: list[np.ndarray] = []
    for k, words in enumerate([[], ["--level", 0], ["--guidance", 1], ["--seed", 1], ["--negative", "ugly"]]):
        assert run(*words, "-o", f"{k}.png")[0] == 0
        made.append(pixels(f"{k}.png"))
    assert run("-o", "other.png", prompt="a blue star")[0] == 0
    made.append(pixels("other.png"))
    for other in made[1:]:
        assert not np.array_equal(made[0], other)


@pytest.mark.parametrize("mode", ["RGBA", "L"])
def test_sides_that_the_network_cannot_take_are_padded(
    second: tuple[Any, Path], tmp_path: Path, mode: str
) -> None:
    """33x21 becomes 132x84, which are no multiples of 8."""
    image = Image.linear_gradient("L").resize((33, 21)).convert(mode)
    image.save(tmp_path / "odd.png")
    picture = read(tmp_path / "odd.png")
    drawer = Enlarging(stage=second[1], prompt=PROMPT, steps=2).load("cpu")
    made = enlarged(picture, drawer)
    assert made.size == (132, 84)
    assert ("A" in made.getbands()) == (mode == "RGBA")
    padded = to_images(np.pad(np.asarray(picture.rgb), ((0, 1), (0, 1), (0, 0)), mode="edge")[None])
    stage = Stage(prior=IFPrior.from_pretrained(second[1]), steps=2, guidance=4.0, level=250)
    expected = to_pixels(draw([stage], PROMPT, picture=padded))[0][:84, :132]
    assert np.abs(np.asarray(drawer.picture(picture).rgb).astype(int) - expected).max() <= 1


def test_the_level_is_the_nearest_of_the_stage(second: tuple[Any, Path]) -> None:
    prior = IFPrior.from_pretrained(second[1])
    for step in (0, 100, 250, 700):
        asked = Enlarging(stage=second[1], prompt=PROMPT, level=sigma(prior, step))
        assert asked.load("cpu").stated()["noise_level"] == step
    assert sigma(prior, 0) < 0.02
    assert 0.3 < sigma(prior, 250) < 0.5


@pytest.mark.parametrize(
    ("words", "prompt", "expected"),
    [
        ((), None, "prompt: empty; describe the picture with --prompt, because 'IF-II-tiny' takes text"),
        ((), " ", "prompt: empty; describe the picture with --prompt"),
        (("--factor", 2), PROMPT, "factor: 2; 'IF-II-tiny' was made for 4, so leave --factor out"),
        (("--level", 1), PROMPT, "level: 1; choose 0 (no noise) or more, but less than 1"),
        (("--steps", 0), PROMPT, "steps: 0; choose 1 to 1000"),
        (("--guidance", 0.5), PROMPT, "guidance: 0.5; choose 1 (none) or more"),
        (("--guidance", "nan"), PROMPT, "guidance: nan; choose 1 (none) or more"),
        (("--stage", "scenes-x2"), PROMPT, "prompt: the stage 'scenes-x2' takes no text; leave --prompt out"),
        (("--stage", "scenes-x2", "--guidance", 2), None, "guidance: the stage 'scenes-x2' takes no text"),
    ],
)
def test_bad_input(run: Run, words: tuple[object, ...], prompt: str | None, expected: str) -> None:
    before = sorted(Path().iterdir())
    code, _, err = run(*words, prompt=prompt)
    assert (code, expected in err) == (2, True), err
    assert sorted(Path().iterdir()) == before


def test_a_picture_smaller_than_the_stages_input(
    run: Run, second: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Enlarging(stage=second[1], prompt=PROMPT).load("cpu")
    assert stage.stated()["steps"] == 50
    Image.new("RGB", (16, 16)).save("enough.png")
    assert run("--steps", 1, image="enough.png")[0] == 0
    Image.new("RGB", (12, 15)).save("small.png")
    assert "small.png: 12x15 pixels; the stage needs 16 or more a side" in run(image="small.png")[2]
    published = replace(IFPrior.from_pretrained(second[1]).card, size=256)
    monkeypatch.setattr(IFPrior, "card", published)
    code, _, err = run()
    assert (code, "in.png: 32x24 pixels; 'IF-II-tiny' needs 64 or more on the long side" in err) == (2, True)


def test_where_memory_runs_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **more: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(UNet2DConditionModel, "forward", full)
    code, _, err = run()
    assert (code, "memory: cpu ran out;" in err, "try a smaller picture, or close other" in err) == (
        3,
        True,
        True,
    )


def test_a_first_stage_is_refused(run: Run, tmp_path: Path) -> None:
    pipe = IFPipeline(
        tokenizer=t5_tokenizer(), text_encoder=t5().eval(), unet=unet(), scheduler=scheduler(), **BARE
    )
    pipe.save_pretrained(tmp_path / "first")
    code, _, err = run("--stage", "first")
    assert (code, "stage first: a first stage, which draws from text alone" in err) == (2, True)
