"""The layer: the input bit for bit where nothing changed, all of the edit where something did."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw
from torch import Tensor

import scumble
from scumble.core.noise import Noise
from scumble.pictures import canvas, layer, reading
from scumble.pictures.canvas import Fit
from scumble.pictures.layer import lift, opacity, opaque
from scumble.priors.exact import GaussianPrior

SIZES = [(128, 128), (300, 200), (200, 300), (1000, 400), (60, 40), (129, 127)]


def fitted(size: tuple[int, int]) -> tuple[reading.Picture, Fit, Tensor]:
    """A picture with detail at every scale, its place on a canvas of 128, and itself there."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    waves = [np.sin(a * x + b * y) + np.sin(9 * a * x * y) for a, b in ((40, 3), (9, 25), (17, 60))]
    grain = Noise(3).like(torch.empty(1, 3, size[1], size[0]))[0].permute(1, 2, 0).numpy()
    pixels = (127 + 40 * np.stack(waves, axis=-1) + 4 * grain).clip(0, 255).astype(np.uint8)
    picture = reading.read(pixels)
    fit = Fit.of(size, 128, 64)
    return picture, fit, canvas.to_canvas(picture, fit)


def disc(image: Tensor, x: float, y: float, radius: float) -> Tensor:
    """(1, 1, H, W): 1 within `radius` of (x, y), all in shares of the canvas's long side."""
    height, width = image.shape[-2:]
    side = max(height, width)
    rows = torch.arange(height).view(-1, 1) / side
    columns = torch.arange(width).view(1, -1) / side
    return ((columns - x) ** 2 + (rows - y) ** 2 < radius**2).float()[None, None]


def drift(image: Tensor, amplitude: float, seed: int = 5) -> Tensor:
    """What a method changes everywhere without being asked: blobs some pixels wide."""
    coarse = Noise(seed).like(torch.empty(1, 3, *(side // 8 for side in image.shape[-2:])))
    return amplitude * torch.nn.functional.interpolate(coarse, image.shape[-2:], mode="bilinear")


@pytest.mark.parametrize("size", SIZES)
def test_untouched_pixels_are_the_inputs_own(size: tuple[int, int]) -> None:
    picture, fit, before = fitted(size)
    spot = disc(before, 0.5, 0.5 * before.shape[2] / before.shape[3], 0.1)
    lifted = lift(before, before - 0.8 * spot + drift(before, 0.01), picture, fit)
    out, shown = np.asarray(lifted.over(picture.rgb)), np.asarray(lifted.opacity)
    assert out.shape[1::-1] == size
    assert np.array_equal(out[shown == 0], np.asarray(picture.rgb)[shown == 0])
    assert 0.02 < lifted.changed < 0.4
    middle = out[size[1] // 2, size[0] // 2].astype(int) - np.asarray(picture.rgb)[size[1] // 2, size[0] // 2]
    assert middle.max() < -40


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keep", ["auto", 0.0, 0.1])
def test_no_change_is_the_input(size: tuple[int, int], keep: layer.Keep) -> None:
    picture, fit, before = fitted(size)
    lifted = lift(before, before.clone(), picture, fit, keep)
    assert lifted.over(picture.rgb).tobytes() == picture.rgb.tobytes()
    assert lifted.changed == 0


def test_the_padding_does_not_count() -> None:
    picture, fit, before = fitted((300, 200))
    after = before - 0.6 * disc(before, 0.5, 0.33, 0.1)
    top, height = fit.offset[1], fit.inner[1]
    assert (top, height) == (21, 85)
    torn = after.clone()
    torn[:, :, :top] = 1.0
    torn[:, :, top + height :] = -1.0
    whole, other = lift(before, after, picture, fit), lift(before, torn, picture, fit)
    assert whole.over(picture.rgb).tobytes() == other.over(picture.rgb).tobytes()
    assert whole.threshold == other.threshold


def flat(height: int = 96, width: int = 128) -> layer.Floats:
    return np.zeros((height, width, 3), np.float32)


def test_a_weak_arm_of_a_change_counts_and_a_weak_island_does_not() -> None:
    delta = flat()
    delta[20:40, 20:40] = 0.8
    delta[26:34, 40:90] = 0.09  # between the threshold and twice the threshold
    delta[70:78, 20:70] = 0.09
    shown, threshold = opacity(delta)
    assert threshold == 0.05
    assert shown[30, 30] == 1
    assert shown[30, 80] > 0.5
    assert not shown[60:].any()


def test_a_hole_is_filled_where_the_old_picture_would_shine_through() -> None:
    delta = flat()
    delta[20:70, 20:90] = 0.5
    delta[40:44, 40:44] = 0  # chance likeness: filled, because it is narrow
    delta[30:50, 65:80] = 0.07  # not the old picture either
    shown, _ = opacity(delta)
    assert (shown[24:66, 24:86] == 1).all()
    delta[30:60, 40:60] = 0  # but what is wide and really the same is kept
    shown, _ = opacity(delta)
    assert not shown[42:48, 48:52].any()


@pytest.mark.parametrize("amount", [0.2, 0.5, 1.0])
def test_a_global_edit_is_whole(amount: float) -> None:
    picture, fit, before = fitted((300, 200))
    after = before * (1 - amount) - 0.5 * amount + drift(before, 0.01)
    lifted = lift(before, after, picture, fit)
    assert lifted.opacity.getextrema() == (255, 255)
    assert lifted.changed == 1


def test_a_dark_ground_that_only_brightens_a_little_is_not_left_behind() -> None:
    delta = flat()
    delta[:] = (0.02, 0.02, 0.18)  # night to day before black: less than noise may be, but all one way
    delta[40:60, 40:60] = 0.9
    assert opacity(delta)[0].min() == 1
    rng = np.random.default_rng(0)
    noise = flat(128) + rng.uniform(-0.14, 0.14, (128, 128, 1))
    noise[40:60, 40:60] = 0.9
    assert opacity(noise)[0].min() == 0, "as much noise goes both ways"


def test_the_threshold_follows_the_noise_floor() -> None:
    _, _, image = fitted((128, 128))
    spot = 0.9 * disc(image, 0.3, 0.5, 0.12)
    used = []
    for amplitude in (0.0, 0.05, 0.07):
        noise = drift(image, amplitude)[0].permute(1, 2, 0).numpy()
        shown, threshold = opacity(noise + spot[0].permute(1, 2, 0).numpy())
        assert shown[64, 38] == 1
        assert not shown[:, 70:].any()
        used.append(threshold)
    assert used[0] == layer.LEAST < used[1] < used[2] <= layer.MOST


def test_a_number_is_taken_literally() -> None:
    delta = flat()
    delta[:, :60], delta[:, 60:] = 0.3, 0.12
    assert opacity(delta, 0.05)[0].min() == 1
    assert not opacity(delta, 0.13)[0][:, 70:].any()
    assert opacity(delta, 0.13)[0][:, :50].min() == 1
    assert not opacity(delta, 0.31)[0].any()
    everything = flat() + 0.5
    everything[40:60, 40:60] = 0
    assert opacity(everything)[0].min() == 1  # 95 % changed
    assert opacity(everything, 0.05)[0].min() == 0


@pytest.mark.parametrize("side", [128, 256])
def test_no_ghost_of_the_old_shape(side: int) -> None:
    """A circle becomes a star: what is left differs from the raw edit nowhere that either of them was."""
    size = (4 * side, 3 * side)
    pictures = []
    for draw in ("circle", "star"):
        image = Image.new("RGB", size, (190, 190, 200))
        turns = np.linspace(0, 2 * np.pi, 11)[:-1]
        radii = side * np.where(np.arange(10) % 2, 0.35, 0.8)
        points = [
            (2 * side + r * np.sin(a), 1.5 * side - r * np.cos(a)) for a, r in zip(turns, radii, strict=True)
        ]
        box = [2 * side - 0.7 * side, 0.8 * side, 2 * side + 0.7 * side, 2.2 * side]
        pen = ImageDraw.Draw(image)
        pen.ellipse(box, fill=(200, 40, 40)) if draw == "circle" else pen.polygon(points, fill=(200, 40, 40))
        pictures.append(reading.read(image))
    fit = Fit.of(size, side, 64)
    before, after = (canvas.to_canvas(picture, fit) for picture in pictures)
    lifted = lift(before, after + drift(after, 0.01), pictures[0], fit)
    out = np.asarray(lifted.over(pictures[0].rgb)).astype(int)
    old, new = (np.asarray(picture.rgb).astype(int) for picture in pictures)
    left = np.abs(out - new).mean(2)[(old != new).any(2)]
    assert left.mean() < 6
    assert np.quantile(left, 0.95) < 40  # the canvas's own softness, at the star's rim
    assert 0.05 < lifted.changed < 0.4


def test_no_seam_where_a_change_fades() -> None:
    size = (512, 384)
    picture = reading.read(Image.new("RGB", size, (120, 130, 140)))
    fit = Fit.of(size, 128, 64)
    before = canvas.to_canvas(picture, fit)
    after = before + 0.8 * torch.linspace(0, 1, 128) ** 2  # 0 at the left
    out = np.asarray(lift(before, after, picture, fit).over(picture.rgb)).astype(int)[:, :, 0]
    assert (out[:, 0] == 120).all()
    assert (out[:, -1] > 180).all()
    assert np.abs(np.diff(out, axis=1)).max() <= 2


def test_detail_comes_back_where_the_structure_is_the_same() -> None:
    picture, fit, before = fitted((512, 512))
    darker = lift(before, 0.5 * before - 0.3, picture, fit)
    assert darker.changed == 1

    def grain(image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image).astype(float)
        return (pixels[1:, 1:] - pixels[1:, :-1] - pixels[:-1, 1:] + pixels[:-1, :-1]).ravel()

    def slope(image: Image.Image) -> float:
        fine = grain(picture.rgb)
        return float(grain(image) @ fine / (fine @ fine))

    assert slope(darker.over(picture.rgb)) == pytest.approx(0.5, abs=0.1)
    assert slope(opaque(0.5 * before - 0.3, fit).over(picture.rgb)) < 0.1


def test_detail_stays_away_where_something_else_is_shown() -> None:
    picture, fit, before = fitted((512, 512))
    replaced = lift(before, torch.full_like(before, 0.2), picture, fit)
    pixels = np.asarray(replaced.over(picture.rgb)).astype(int)
    assert np.abs(pixels - round(1.2 * 127.5)).mean() < 3


def test_strips_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, fit, before = fitted((300, 700))
    after = before * 0.6 + 0.2
    strips = np.asarray(lift(before, after, picture, fit).over(picture.rgb)).astype(int)
    monkeypatch.setattr(layer, "STRIP", 10_000)
    assert np.abs(strips - np.asarray(lift(before, after, picture, fit).over(picture.rgb))).max() <= 1


def test_a_layer_lies_within_a_mask_and_in_its_place() -> None:
    _, fit, before = fitted((120, 80))
    everywhere = opaque(before + 0.5, fit)
    mask = Image.new("L", (120, 80))
    mask.paste(255, (30, 20, 60, 40))
    mask.paste(128, (60, 20, 70, 40))
    masked = everywhere.within(mask)
    assert masked.opacity.tobytes() == mask.tobytes()
    assert masked.changed == pytest.approx(40 * 20 / (120 * 80))
    whole = Image.new("RGB", (300, 200), "teal")
    out = np.asarray(masked.placed((100, 50, 220, 130), whole.size).over(whole))
    inside = np.asarray(masked.over(whole.crop((100, 50, 220, 130))))
    assert np.array_equal(out[50:130, 100:220], inside)
    outside = np.ones((200, 300), bool)
    outside[70:90, 130:170] = False
    assert (out[outside] == np.asarray(whole)[outside]).all()


def test_the_saved_layer_makes_the_same_picture_in_an_image_editor() -> None:
    picture, fit, before = fitted((300, 200))
    lifted = lift(before, before - 0.6 * disc(before, 0.5, 0.33, 0.15), picture, fit)
    sheet = lifted.rgba()
    assert (sheet.mode, sheet.size) == ("RGBA", (300, 200))
    composed = Image.alpha_composite(picture.rgb.convert("RGBA"), sheet).convert("RGB")
    ours = np.asarray(lifted.over(picture.rgb)).astype(int)
    assert np.abs(np.asarray(composed) - ours).max() <= 1
    pixels = np.asarray(sheet)
    assert not pixels[pixels[..., 3] == 0].any()


def test_kind_and_profile_of_the_input_remain() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.linear_gradient("L").resize((90, 60)).convert("LA")
    image.putalpha(Image.radial_gradient("L").resize((90, 60)))
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be seen after a turn to the right
    buffer = io.BytesIO()
    turned.save(buffer, "PNG", exif=exif, icc_profile=profile)
    picture = reading.read(Image.open(io.BytesIO(buffer.getvalue())))
    fit = Fit.of(picture.size, 128, 64)
    before = canvas.to_canvas(picture, fit)
    lifted = lift(before, before - 0.5 * disc(before, 0.3, 0.3, 0.1), picture, fit)
    back = canvas.finish(lifted.over(picture.rgb), picture)
    assert (back.mode, back.size) == ("LA", (90, 60))
    assert back.info.get("icc_profile") == profile
    assert back.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    same = np.asarray(lifted.opacity) == 0
    assert np.array_equal(np.asarray(back)[..., 0][same], np.asarray(image)[..., 0][same])
    assert 0 < same.mean() < 1


def test_as_lut_the_picture_itself_is_recoloured(photo: Image.Image) -> None:
    prior = GaussianPrior({"": 0.0, "cold": (-0.1, 0.0, 0.1), "warm": (0.1, 0.0, -0.1)}, std=0.5)
    picture = photo.resize((90, 60))
    mask = Image.new("L", picture.size)
    mask.paste(255, (20, 10, 70, 50))
    edit = scumble.edit(
        picture, source="cold", target="warm", model=prior, mask=mask, form="lut", settings={"steps": 10}
    )
    assert edit.picture is not None
    before, after, inside = (np.asarray(p).astype(int) for p in (picture, edit.picture, mask))
    assert (after[inside == 0] == before[inside == 0]).all()
    moved = (after - before)[inside == 255].mean(0)
    assert moved[0] > 3
    assert moved[2] < -3
    assert abs(moved[1]) < 1
