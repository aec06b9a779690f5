"""`scumble paint` by the first stage of a cascade of IF's shape, in miniature, and `scumble upscale` by the second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble.cli import run as cli
from scumble.core.pixels import to_images, to_pixels
from scumble.editing.cascade import Stage, draw
from scumble.pictures.reading import read_passport
from scumble.priors.deepfloyd import SAMPLING, IFPrior
from tests.parity.test_cascade import first_stage

from .test_upscale_worded import NEGATIVE, PROMPT, pixels, second  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("if") / "IF-I-tiny"
    return first_stage(folder), folder


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[Any, Path],
) -> Run:
    """run(words...): `scumble paint` of PROMPT by the tiny first stage in 5 steps."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object, model: object = first[1]) -> tuple[int, str, str]:
        capsys.readouterr()
        usual = ["paint", PROMPT, "--model", model, "--steps", 5, "--device", "cpu"]
        code = cli([str(word) for word in [*usual, *words]])
        heard = capsys.readouterr()
        return code, heard.out, heard.err

    return call


@pytest.mark.parametrize(
    ("size", "guidance"), [((16, 16), None), ((24, 16), None), ((16, 16), 1.0), ((16, 16), 2.5)]
)
def test_the_command_is_the_published_pipeline(
    run: Run, first: tuple[Any, Path], size: tuple[int, int], guidance: float | None
) -> None:
    pipe, _ = first
    width, height = size
    more = [] if guidance is None else ["--guidance", guidance]
    words = ["--negative", NEGATIVE, "--seed", 3, "--size", f"{width}x{height}", *more]
    code, out, err = run(*words, "--json", "-o", "small.png")
    assert code == 0, err
    theirs = pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=5, guidance_scale=guidance or 7.0, output_type="pt",
        height=height, width=width, generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip
    expected = to_pixels(theirs.clamp(-1, 1))[0].astype(int)
    assert expected.std() > 10
    assert np.abs(pixels("small.png") - expected).max() <= 1
    about = json.loads(out)
    settings = about["passport"]["settings"]
    assert {name: settings[name]["value"] for name in SAMPLING} == {
        **SAMPLING,
        "steps": 5,
        "guidance": guidance or 7.0,
    }
    assert settings["threshold"]["from"] == settings["sampler"]["from"] == "card"
    assert about["evaluations"] == (5 if guidance == 1 else 10)


def test_it_draws_at_its_own_size(run: Run) -> None:
    assert run()[:2] == (0, "a-red-circle.paint.png\n")
    assert pixels("a-red-circle.paint.png").shape == (16, 16, 3)
    held = read_passport(Path("a-red-circle.paint.png"))
    assert held is not None
    assert (held["model"]["id"], held["model"]["dtype"]) == ("IF-I-tiny", "float32")
    assert held["model"]["name"] == "IF-I-tiny", "without folders"


def test_replay(run: Run, first: tuple[Any, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-o", "small.png")[0] == 0
    assert cli(["replay", "small.png", "--model", str(first[1]), "--device", "cpu"]) == 0
    assert "small.png: identical in every pixel" in "".join(capsys.readouterr())


def test_thresholding_is_heard_and_can_be_left_out(run: Run) -> None:
    assert run("-o", "with.png")[0] == 0
    assert run("--set", "threshold=0", "-o", "without.png")[0] == 0
    assert not np.array_equal(pixels("with.png"), pixels("without.png"))


def test_the_second_stage_draws_it_larger(
    run: Run,
    first: tuple[Any, Path],
    second: tuple[Any, Path],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both commands are the cascade in one piece, up to the 8 bits of the file between them."""
    assert run("--seed", 3, "-o", "small.png")[0] == 0
    line = ["upscale", "small.png", "--stage", str(second[1]), "--prompt", PROMPT, "--steps", "3"]
    assert cli([*line, "--seed", "4", "--device", "cpu", "-o", "large.png"]) == 0
    one, two = (IFPrior.from_pretrained(each[1]) for each in (first, second))
    stages = [Stage(prior=one, steps=5), Stage(prior=two, steps=3, guidance=4.0, level=250)]
    small = draw(stages[:1], PROMPT, seed=3)
    assert np.abs(pixels("small.png") - to_pixels(small)[0]).max() <= 1
    expected = draw(stages[1:], PROMPT, seed=4, picture=to_images(pixels("small.png")[None].astype(np.uint8)))
    assert np.abs(pixels("large.png") - to_pixels(expected)[0]).max() <= 1


def test_in_python(first: tuple[Any, Path]) -> None:
    made = scumble.paint(PROMPT, model=first[1], device="cpu", seed=3, settings={"steps": 5})
    expected = draw([Stage(prior=IFPrior.from_pretrained(first[1]), steps=5)], PROMPT, seed=3)
    assert made.picture is not None
    assert np.abs(np.asarray(made.picture).astype(int) - to_pixels(expected)[0]).max() <= 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--dtype", "float16"), "dtype: a stage of IF is loaded as"),
        (("--memory", "offload"), "memory: a stage of IF is loaded as"),
        (("--lora", "a.safetensors"), "lora: a stage of IF"),
        (("--size", "17x16"), "size: 17x16; both sides must be multiples of 2 for 'IF-I-tiny'"),
        (("--upscale", "2"), "upscale: no stage was made for 'IF-I-tiny'"),
        (("--set", "threshold=1"), "threshold: 1"),
    ],
)
def test_bad_input(run: Run, words: tuple[str, ...], expected: str) -> None:
    code, _, err = run(*words)
    assert (code, expected in err) == (2, True), err
    assert not list(Path().iterdir())


def test_a_later_stage_paints_nothing(run: Run, second: tuple[Any, Path]) -> None:  # noqa: F811
    code, _, err = run(model=second[1])
    assert (code, "it is a later stage, which draws a given picture larger; paint with the first" in err) == (
        2,
        True,
    )


def test_edits_are_refused_in_words(run: Run, first: tuple[Any, Path], capsys: Any) -> None:
    Image.new("RGB", (16, 16)).save("in.png")
    line = ["edit", "in.png", "--source", "a cat", "--target", "a dog", "--model", str(first[1])]
    for more in ([], ["--dry-run"]):
        assert cli([*line, *more]) == 2
        err = capsys.readouterr().err
        assert "DeepFloyd IF, which edits nothing: of a folder on this disk `scumble paint` draws" in err


def test_a_model_of_latents_has_no_bounds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "a.png")
    assert cli(["paint", "a red circle", "--set", "threshold=0.9", "--steps", "1", "-o", out]) == 2
    assert "threshold: 'scenes' works on latents, which have no bounds" in capsys.readouterr().err
