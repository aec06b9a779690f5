"""edit(): any picture in, the same kind of picture out, values with their origins."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scumble
from scumble import InputError
from scumble.api import plan
from scumble.editing.checks import DomainWarning
from scumble.editing.passport import plain

WORDS = {"source": "a red circle", "target": "a blue circle"}
QUICK = {"steps": 2}
pytestmark = pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")


def test_picture_has_the_inputs_size_and_raw_the_canvas(model: scumble.Prior, photo: Image.Image) -> None:
    edit = scumble.edit(photo, **WORDS, model=model, settings=QUICK)
    assert edit.picture is not None
    assert edit.picture.size == photo.size
    assert max(edit.raw.shape) == model.card.size
    assert edit.evaluations == 8


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
@pytest.mark.parametrize("size", [(60, 40), (40, 60), (7, 61)])
def test_every_kind_comes_back(
    mode: str, size: tuple[int, int], model: scumble.Prior, photo: Image.Image
) -> None:
    image = photo.resize(size).convert(mode)
    alpha = Image.linear_gradient("L").resize(size)
    if mode.endswith("A"):
        image.putalpha(alpha)
    edit = scumble.edit(image, **WORDS, model=model, settings=QUICK)
    assert edit.picture is not None
    assert edit.picture.size == size
    assert edit.picture.mode in {"RGB", "RGBA", "L", "LA"}
    assert edit.picture.has_transparency_data == mode.endswith("A")
    if mode.endswith("A"):
        assert edit.picture.getchannel("A").tobytes() == alpha.tobytes()


def test_outside_of_the_mask_every_pixel_is_the_inputs(model: scumble.Prior, photo: Image.Image) -> None:
    mask = Image.new("L", photo.size)
    mask.paste(255, (20, 10, 40, 30))
    edit = scumble.edit(photo, **WORDS, model=model, mask=mask, settings=QUICK)
    changed = (np.asarray(edit.picture) != np.asarray(photo)).any(axis=-1)
    assert not changed[np.asarray(mask) == 0].any()
    assert changed[np.asarray(mask) == 255].mean() > 0.5


def test_values_user_over_card_over_method(checkpoint: Callable[..., Path], circle: Image.Image) -> None:
    folder = checkpoint(recommended={"dds": {"steps": 5, "guidance": 3.0}})
    edit = scumble.edit(circle, **WORDS, model=folder, settings={"steps": 2})
    settings = edit.provenance["settings"]
    assert settings["steps"] == {"value": 2, "from": "user"}
    assert settings["guidance"] == {"value": 3.0, "from": "card"}
    assert settings["rate"] == {"value": scumble.DDS().rate, "from": "method"}
    literal = scumble.edit(circle, **WORDS, model=folder, method=scumble.DDS(steps=2))
    assert literal.provenance["settings"]["guidance"] == {"value": 7.5, "from": "user"}
    assert literal.provenance["settings"].keys() == settings.keys()


def test_provenance_is_json_and_complete(model: scumble.Prior, png: Path) -> None:
    edit = scumble.edit(png, **WORDS, model=model, seed=7, settings=QUICK)
    passport = json.loads(json.dumps(edit.provenance))
    assert passport["seed"] == 7
    assert passport["target"] == "a blue circle"
    assert passport["model"]["hash"] == model.card.hash
    assert len(passport["input"]["sha256"]) == 64
    assert {"python", "torch", "pillow"} <= passport["versions"].keys()
    assert str(png) not in json.dumps(passport)  # where a picture lay is nobody's business
    assert plain(((1, 2.0), None, object)) == [[1, 2.0], None, "<class 'object'>"]


def test_a_seed_is_an_edit(model: scumble.Prior, circle: Image.Image) -> None:
    def pixels(seed: int) -> bytes:
        picture = scumble.edit(circle, **WORDS, model=model, seed=seed, settings=QUICK).picture
        assert picture is not None
        return picture.tobytes()

    assert pixels(3) == pixels(3) != pixels(4)


def test_steps_are_reported_and_cancelling_works(model: scumble.Prior, circle: Image.Image) -> None:
    seen: list[tuple[int, int]] = []
    scumble.edit(
        circle, **WORDS, model=model, settings={"steps": 3}, on_step=lambda s: seen.append((s.k, s.n))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(step: scumble.Step) -> None:
        raise scumble.Cancelled

    with pytest.raises(scumble.Cancelled):
        scumble.edit(circle, **WORDS, model=model, on_step=stop)


def test_words_are_checked(checkpoint: Callable[..., Path], circle: Image.Image) -> None:
    folder = checkpoint(words=["a", "red", "blue", "circle"], domain="drawings of coloured circles")
    with pytest.raises(InputError) as caught:
        scumble.edit(circle, source="a red circel", target="a corgi", model=folder, settings=QUICK)
    message = str(caught.value)
    assert (
        "'circel' (did you mean 'circle'?), 'corgi'; it is made for: drawings of coloured circles. "
        in message
    )
    assert "stable-diffusion-v1-5" in message
    assert "--force" in message
    with pytest.warns(DomainWarning, match="corgi"):
        scumble.edit(
            circle, source="a red circle", target="a corgi", model=folder, settings=QUICK, force=True
        )


def test_a_picture_that_the_codec_loses(model: scumble.Prior, photo: Image.Image) -> None:
    with pytest.warns(DomainWarning, match=r"picture: .* cannot reproduce this picture \(\d+\.\d dB"):
        scumble.edit(photo, **WORDS, model=model, settings=QUICK)


# The layer -----------------------------------------------------------------------------------------------


def test_equal_prompts_return_the_input_bit_for_bit(model: scumble.Prior, circle: Image.Image) -> None:
    edit = scumble.edit(circle, source="a red circle", target="a red circle", model=model, settings=QUICK)
    assert edit.picture is not None
    assert edit.layer is not None
    assert edit.picture.tobytes() == circle.tobytes()
    assert edit.layer.getchannel("A").getextrema() == (0, 0)
    assert edit.provenance["layer"]["changed"] == 0


def test_keep_leaves_raw_alone(model: scumble.Prior, circle: Image.Image) -> None:
    kept, whole = (
        scumble.edit(circle, **WORDS, model=model, keep=keep, settings=QUICK) for keep in (2.0, "none")
    )
    assert kept.raw.equal(whole.raw)
    assert kept.picture.tobytes() == circle.tobytes() != whole.picture.tobytes()
    assert whole.provenance["layer"] == {"threshold": 0, "changed": 1}
    assert (kept.provenance["keep"], whole.provenance["keep"]) == (2.0, "none")


def test_a_small_mask_is_cropped_to(model: scumble.Prior, circle: Image.Image) -> None:
    mask = Image.new("L", circle.size)
    mask.paste(255, (30, 20, 42, 32))
    edit = scumble.edit(circle, **WORDS, model=model, mask=mask, keep="none", settings=QUICK)
    left, top, right, bottom = edit.provenance["box"]
    assert (right - left, bottom - top) == (16, 16)
    alone = scumble.edit(
        circle.crop((left, top, right, bottom)), **WORDS, model=model, keep="none", settings=QUICK,
        mask=mask.crop((left, top, right, bottom)),
    )  # fmt: skip
    assert edit.picture.crop((left, top, right, bottom)).tobytes() == alone.picture.tobytes()
    changed = (np.asarray(edit.picture) != np.asarray(circle)).any(axis=-1)
    assert not changed[np.asarray(mask) == 0].any()
    assert changed[np.asarray(mask) == 255].all()
    whole = scumble.edit(circle, **WORDS, model=model, mask=mask, crop="none", settings=QUICK)
    assert whole.provenance["box"] is None


def test_size_is_the_canvass_and_not_the_pictures(model: scumble.Prior, circle: Image.Image) -> None:
    edit = scumble.edit(circle, **WORDS, model=model, size=32, settings=QUICK)
    assert max(edit.raw.shape) == 32 != model.card.size
    assert edit.picture.size == circle.size


def test_paper_leaves_the_cards_values_out(checkpoint: Callable[..., Path], circle: Image.Image) -> None:
    folder = checkpoint(recommended={"dds": {"guidance": 3.0}})
    edit = scumble.edit(circle, **WORDS, model=folder, settings={"steps": 2}, paper=True)
    assert edit.provenance["settings"]["guidance"] == {"value": 7.5, "from": "method"}
    assert edit.provenance["settings"]["steps"] == {"value": 2, "from": "user"}
    assert edit.provenance["paper"] is True


@pytest.mark.slow
def test_as_lut_moves_no_pixel(model: scumble.Prior, photo: Image.Image) -> None:
    image = photo.resize((600, 400), Image.Resampling.NEAREST)  # in blocks of 10, larger than the canvas
    what = {"model": model, "form": "lut", "settings": {"steps": 3, "rate": 5.0}}
    edit = scumble.edit(image, **WORDS, **what)
    before, after = np.asarray(image).reshape(-1, 3), np.asarray(edit.picture).reshape(-1, 3)
    assert (before != after).any()
    colours = {}
    assert all(colours.setdefault(bytes(b), bytes(a)) == bytes(a) for b, a in zip(before, after, strict=True))
    assert edit.provenance["form"] == "lut"
    mask = Image.new("L", image.size)
    mask.paste(255, (0, 0, 300, 400))
    part = np.asarray(scumble.edit(image, **WORDS, **what, mask=mask).picture)
    assert (part[:, 300:] == np.asarray(image)[:, 300:]).all()
    assert (part[:, :300] != np.asarray(image)[:, :300]).any()
    same = scumble.edit(image, source="a red circle", target="a red circle", **what)
    assert same.picture.tobytes() == image.tobytes()
    assert same.provenance["layer"]["changed"] == 0


def test_a_plan_varies(model: scumble.Prior, circle: Image.Image) -> None:
    made = plan(circle, **WORDS, model=model, settings=QUICK).vary(target="a star", seed=9)()
    alone = scumble.edit(circle, source="a red circle", target="a star", seed=9, model=model, settings=QUICK)
    assert made.raw.equal(alone.raw)
    assert (made.provenance["target"], made.provenance["seed"]) == ("a star", 9)
    with pytest.raises(InputError, match="seed: -1"):
        plan(circle, **WORDS, model=model, settings=QUICK).vary(seed=-1)
    with pytest.raises(InputError, match="target: empty"):
        plan(circle, **WORDS, model=model, settings=QUICK).vary(target=" ")


def test_options_of_loading_come_too_late_for_a_loaded_model(
    model: scumble.Prior, circle: Image.Image
) -> None:
    with pytest.raises(InputError, match="device: the model is loaded already"):
        plan(circle, **WORDS, model=model, device="cpu")


def test_a_passport_tells_no_places(
    checkpoint: Callable[..., Path], png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = checkpoint(), tmp_path / "mine.py"
    file.write_text(OWN_METHOD)
    Image.new("L", (96, 64), 255).save(tmp_path / "mask.png")
    what = {"model": folder, "method": f"{file}:Mine", "mask": tmp_path / "mask.png", "settings": QUICK}
    passport = scumble.edit(png, **WORDS, **what).provenance
    assert str(tmp_path) not in json.dumps(passport)
    assert (passport["model"]["name"], passport["method"]) == ("model", "mine.py:Mine")
    assert (passport["input"]["name"], passport["mask"]["name"]) == ("circle.png", "mask.png")
    assert (passport["model"]["dtype"], passport["model"]["lora"]) == ("float32", [])
    monkeypatch.chdir(tmp_path)
    passport = scumble.edit(png, **WORDS, **what).provenance
    assert (passport["model"]["name"], passport["method"]) == ("./model", "./mine.py:Mine")


OWN_METHOD = '''
from dataclasses import dataclass
import scumble

@dataclass(frozen=True, kw_only=True)
class Mine(scumble.DDS):
    """The same, by another name."""

@dataclass(frozen=True)
class Other:
    steps: int = 1
'''


def test_a_method_of_ones_own(model: scumble.Prior, circle: Image.Image, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OWN_METHOD)
    mine = scumble.edit(circle, **WORDS, model=model, method=f"{file}:Mine", settings=QUICK)
    dds = scumble.edit(circle, **WORDS, model=model, method="dds", settings=QUICK)
    assert mine.raw.equal(dds.raw)
    for method, message in [
        (f"{file}:Nobody", "has no method Nobody"),
        (f"{file}:Other", "has no method Other"),
        (f"{tmp_path / 'none.py'}:Mine", "no such file"),
    ]:
        with pytest.raises(InputError, match=message):
            scumble.edit(circle, **WORDS, model=model, method=method)
    file.write_text("import nothing_of_this_name")
    with pytest.raises(InputError, match=r"does not run \(ModuleNotFoundError"):
        scumble.edit(circle, **WORDS, model=model, method=f"{file}:Mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": "some"}, "keep: 'some' must be 'auto', 'none' or a threshold between 0 and 2"),
        ({"keep": 2.5}, "keep: 2.5 must be"),
        ({"crop": "all"}, "crop: 'all' must be"),
        ({"form": "clay"}, "form: 'clay' must be one of"),
        ({"form": "lut", "method": "sdedit"}, "form: sdedit edits latents only"),
        ({"form": "lut", "keep": 0.1}, "keep: a table of colours changes all pixels"),
        ({"size": 8}, "size: 8 is not a whole number of pixels from 16 to 8192"),
        ({"size": 64.0}, "size: 64.0"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 1.5}, "seed: 1.5"),
        ({"method": scumble.DDS(), "settings": {"steps": 3}}, "settings: pass them to the class, DDS"),
        ({"method": "sdedit", "target": " "}, "target: empty"),
        ({"settings": {"rate": 1e30, "steps": 4}}, "diverged"),
        ({"target": "a \udc80"}, r"target: 'a \\udc80' holds bytes that are not UTF-8"),
        ({"source": "a \udc80"}, "source: .* not UTF-8"),
        ({"negative": "a \udc80"}, "negative: .* not UTF-8"),
        ({"method": "sdedit", "also": ["a \udc80"]}, "also: .* not UTF-8"),
    ],
)
def test_arguments_that_cannot_be(
    change: dict[str, object], message: str, model: scumble.Prior, circle: Image.Image
) -> None:
    with pytest.raises(InputError, match=message):
        scumble.edit(circle, **{**WORDS, "model": model, **change})


def test_numbers_of_numpy_and_torch_are_numbers(model: scumble.Prior, circle: Image.Image) -> None:
    edit = scumble.edit(circle, **WORDS, model=model, method="dds_fast", settings={"steps": np.int64(2)})
    assert edit.provenance["settings"]["steps"]["value"] == 2
    made = scumble.DDS(steps=torch.tensor(2), guidance=np.float64(3), rate=np.float32(0.5))
    assert made == scumble.DDS(steps=2, guidance=3.0, rate=0.5)
    assert [type(value) for value in (made.steps, made.guidance, made.rate)] == [int, float, float]
    nothing = torch.zeros((), dtype=torch.int64, device="meta")
    for wrong in (np.float64(2), np.True_, np.array([2, 3]), nothing):
        with pytest.raises(InputError, match="steps: .* is not a whole number"):
            scumble.DDS(steps=wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rate: .* is not a number"):
        scumble.DDS(rate=Fraction(10**400))  # type: ignore[arg-type]


def test_a_model_that_lacks_what_the_method_needs(
    checkpoint: Callable[..., Path], circle: Image.Image
) -> None:
    folder = checkpoint(capabilities=["gradient"])
    with pytest.raises(InputError, match=r"dds needs a model with text, which 'model' does not have"):
        scumble.edit(circle, **WORDS, model=folder)


def test_a_model_without_words(circle: Image.Image) -> None:
    folder = Path(__file__).parents[1] / "goldens/tiny-ddpm"
    edit = scumble.edit(circle, target="", method="sdedit", model=folder, settings={"steps": 4})
    assert edit.picture is not None
    assert edit.picture.size == circle.size


def test_the_card_names_the_method_where_nobody_does(
    checkpoint: Callable[..., Path], circle: Image.Image, model: scumble.Prior
) -> None:
    folder = checkpoint(method="dds_fast", recommended={"dds_fast": {"steps": 2}})
    for asked in (str(folder), scumble.load(folder)):
        made = plan(circle, **WORDS, model=asked)
        assert made.name == "dds_fast"
        assert made.method == scumble.DDSFast(steps=2)
    assert plan(circle, **WORDS, model=folder, method="dds").name == "dds"
    assert plan(circle, **WORDS, model=model).name == "dds"


def test_a_card_that_names_no_method_there_is(checkpoint: Callable[..., Path], circle: Image.Image) -> None:
    with pytest.raises(InputError, match="did you mean 'dds'"):
        plan(circle, **WORDS, model=checkpoint(method="ddss"))
