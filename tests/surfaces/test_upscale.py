"""Upscaling: tiles without seams, what each kind of picture becomes, the command, and bad input."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.core.errors import InputError
from scumble.editing import replay, upscale
from scumble.editing.upscale import Upscaling
from scumble.editing.upscaled import Upscaled
from scumble.networks.sr3 import FACTOR, SR3Network, SuperResolution, upsampled
from scumble.pictures.canvas import VISIBLE
from scumble.pictures.layer import Layer
from scumble.pictures.reading import Picture, read, read_passport
from tests.stages import TINY, random_stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage whose weights are random in every layer, so that all it hears matters."""
    return random_stage(tmp_path_factory.mktemp("stage") / "tiny-x2")


@pytest.fixture
def stage(folder: Path) -> SuperResolution:
    return SuperResolution.from_folder(folder)


def gradient(height: int, width: int) -> torch.Tensor:
    x, y = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)[:, None]
    return torch.stack([x.expand(height, width), y.expand(height, width), x * y])[None]


@pytest.mark.parametrize("size", [(70, 90), (33, 51)])
def test_tiles_leave_no_seams(stage: SuperResolution, size: tuple[int, int]) -> None:
    """Several steps in tiles of 32 pixels are the whole picture's, at the tiles' edges, too."""
    image = gradient(*size)
    whole = upscale.upscale(stage, image, Upscaling(steps=3))
    tiled = upscale.upscale(stage, image, Upscaling(steps=3), tile=32)
    assert whole.shape == (1, 3, 2 * size[0], 2 * size[1])
    assert torch.allclose(whole, tiled, atol=1e-5)


def test_the_reach_is_no_larger_than_stated(stage: SuperResolution) -> None:
    """A pixel decides what lies within `reach`, and nothing beyond."""
    up, x = torch.zeros(1, 3, 160, 160), torch.zeros(1, 3, 160, 160)
    moved = up.clone()
    moved[..., 80, 80] = 1
    level = torch.full((1,), 0.5)
    change = (stage.restore(x, moved, level, 0.0) - stage.restore(x, up, level, 0.0)).abs().amax((0, 1))
    rows, columns = torch.nonzero(change, as_tuple=True)
    far = max(int((rows - 80).abs().max()), int((columns - 80).abs().max()))
    assert 8 < far <= stage.network.config.reach


def test_an_untrained_stage_is_bicubic() -> None:
    stage = SuperResolution("new", SR3Network(TINY), {"noised": 0.3})
    image = gradient(20, 24) * 0.9
    made = upscale.upscale(stage, image, Upscaling(steps=2))
    assert torch.allclose(made, upsampled(image).clamp(-1, 1), atol=1e-3)


def test_every_value_matters_and_equal_ones_give_equal_pictures(stage: SuperResolution) -> None:
    image, usual = gradient(24, 24), Upscaling(steps=2)
    made = upscale.upscale(stage, image, usual)
    assert torch.equal(made, upscale.upscale(stage, image, usual))
    for other in (Upscaling(steps=3), Upscaling(steps=2, seed=1), Upscaling(steps=2, level=0.2)):
        assert not torch.equal(made, upscale.upscale(stage, image, other))
    assert upscale.upscale(stage, image, Upscaling(steps=1, factor=4)).shape == (1, 3, 96, 96)


def test_pictures_of_a_batch_have_seeds_of_their_own(stage: SuperResolution) -> None:
    image = gradient(24, 24)
    both = upscale.upscale(stage, torch.cat([image, image]), Upscaling(steps=2))
    second = upscale.upscale(stage, image, Upscaling(steps=2, seed=1))
    assert torch.allclose(both[1:], second, atol=1e-5)


def test_a_seed_seeds_a_generator() -> None:
    for seed in (-1, 2**64, 1.5):
        with pytest.raises(InputError, match=f"seed: {seed} is not a whole number from 0"):
            Upscaling(seed=seed)  # pyright: ignore[reportArgumentType]


def test_steps_are_reported(stage: SuperResolution) -> None:
    told: list[tuple[int, int]] = []
    upscale.upscale(stage, gradient(16, 16), Upscaling(steps=2, factor=4), lambda *at: told.append(at))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    told.clear()
    asked = Upscaling(steps=2, factor=4)
    upscale.upscale(stage, gradient(17, 35), asked, lambda *at: told.append(at), tile=32)
    n = 2 * (2 * 3 + 3 * 5)  # tiles of 36x72 and of 68x140 pixels
    assert told == [(k, n) for k in range(1, n + 1)]
    assert upscale.calls((35, 17), asked, tile=32) == n


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_kinds_of_pictures(stage: SuperResolution, tmp_path: Path, mode: str) -> None:
    Image.new(mode, (21, 18), 100).save(tmp_path / "in.png")
    made = upscale.upscaled(read(tmp_path / "in.png"), Upscaling(steps=1), stage)
    assert made.size == (42, 36)
    assert ("A" in made.getbands()) == (mode == "RGBA")


def disc(ground: tuple[int, int, int]) -> Picture:
    """A red disc with a soft edge on nothing."""
    y, x = np.mgrid[:40, :40] - 19.5
    opacity = (np.clip(14 - np.hypot(x, y), 0, 1) * 255).astype(np.uint8)
    colours = np.where(opacity[..., None] > 0, (200, 0, 0), ground).astype(np.uint8)
    return read(Image.fromarray(np.dstack([colours, opacity])))


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
def test_what_is_hidden_leaves_no_fringe(ground: tuple[int, int, int], edited: bool) -> None:
    """The disc, or the blue that an edit makes of it, has its colour to its edge; what nobody sees stays as it was."""
    picture, paint = disc(ground), (0, 0, 200) if edited else (200, 0, 0)
    bicubic = SuperResolution("new", SR3Network(TINY), {"noised": 0.3})
    larger = Upscaled(upscaling=Upscaling(steps=1), stage=bicubic, device="cpu")
    assert picture.alpha is not None
    blue = Image.new("RGB", picture.size, "white")
    blue.paste(paint, mask=picture.alpha.point(VISIBLE))
    layer = Layer(blue, Image.new("L", picture.size, 255))
    result = (
        larger.edit(layer, picture)[0] if edited else upscale.upscaled(picture, larger.upscaling, bicubic)
    )
    made = np.asarray(result).astype(int)
    partly = (made[..., 3] > 0) & (made[..., 3] < 255)
    assert partly.sum() > 50
    assert abs(made[partly][:, :3] - paint).max() <= 4
    assert (made[0, 0] == (*ground, 0)).all()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from scumble.cli import run as cli

    monkeypatch.chdir(tmp_path)
    Image.fromarray((np.random.default_rng(0).random((20, 30, 3)) * 255).astype(np.uint8)).save("in.png")

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli([str(word) for word in words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_command(run: Run, folder: Path) -> None:
    code, out, err = run("upscale", "in.png", "--stage", folder, "--steps", 2, "--device", "cpu", "--json")
    assert code == 0, err
    about = json.loads(out)
    assert about["file"] == "in.upscale.png"
    with Image.open("in.upscale.png") as made:
        assert made.size == (30 * FACTOR, 20 * FACTOR)
    held = read_passport(Path("in.upscale.png"))
    assert held is not None
    stage = SuperResolution.from_folder(folder)
    assert held["upscale"] == {
        "factor": 2, "steps": 2, "level": 0.0, "seed": 0,
        "stage": {"name": "tiny-x2", "id": "tiny-x2", "hash": stage.hash},
    }  # fmt: skip
    with pytest.raises(InputError, match="made by `scumble upscale`"):
        replay.read(Path("in.upscale.png"), force=False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--factor", 3), "factor: 3; the stage doubles a picture, so choose 2, or 4 for two passes"),
        (("--steps", 0), "steps: 0; choose 1 to 1000"),
        (("--seed", -1), "seed: -1 is not a whole number from 0 to 2**64 - 1"),
        (("--seed", "9" * 23), "seed: 99999999999999999999999 is not a whole number from 0 to 2**64 - 1"),
        (("--level", 1), "level: 1; choose 0 (no noise) or more, but less than 1"),
        (("--level", 0.5), "was trained on levels up to 0.3; choose less"),
        (("--stage", "nowhere"), "stage nowhere: no config.json there; name the folder of a stage"),
        (("--device", "abacus"), "device: 'abacus' cannot be used here"),
        (("-o", "in.png"), "this would overwrite the input"),
        (("-o", "out.tif"), "the name must end in"),
    ],
)
def test_bad_input(run: Run, folder: Path, words: tuple[object, ...], expected: str) -> None:
    before = sorted(Path().iterdir())
    code, _, err = run("upscale", "in.png", "--stage", folder, *words)
    assert code == 2
    assert expected in err
    assert sorted(Path().iterdir()) == before


def test_a_folder_of_another_network_is_no_stage(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"model_type": "scumble-clip"}')
    assert "the folder holds a clip, not a stage" in run("upscale", "in.png", "--stage", "other")[2]


def test_pictures_that_are_too_small_or_would_be_too_large(run: Run, folder: Path) -> None:
    Image.new("RGB", (300, 15)).save("small.png")
    code, _, err = run("upscale", "small.png", "--stage", folder)
    assert (code, "small.png: 300x15 pixels; the stage needs 16 or more a side" in err) == (2, True)
    with pytest.raises(InputError, match="would become 256 megapixels"):
        upscale.check_picture((4000, 4000), "large.png", 4)


def test_where_memory_runs_out(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **more: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(SR3Network, "forward", full)
    code, _, err = run("upscale", "in.png", "--stage", folder, "--device", "cpu")
    assert (code, "memory: cpu ran out;" in err, "try a smaller picture, or close other" in err) == (
        3,
        True,
        True,
    )
    assert sorted(Path().iterdir()) == [Path("in.png")]


def test_a_package_without_the_stage_says_how_to_make_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scumble.priors._find.builtin", lambda name: tmp_path / name)
    code, _, err = run("upscale", "in.png")
    assert (code, "make them with `scumble train sr3` and name the folder with --stage" in err) == (2, True)
