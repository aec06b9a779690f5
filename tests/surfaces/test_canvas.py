"""To the canvas and back: geometry, padding, masks."""

import numpy as np
import pytest
import torch
from PIL import Image

from scumble.core.pixels import to_pixels
from scumble.pictures import canvas, reading
from scumble.pictures.canvas import Fit
from scumble.pictures.placed import Placed
from scumble.priors.exact import GaussianPrior

SIZES = [(300, 200), (200, 300), (128, 128), (1, 1), (1000, 3), (50, 40), (129, 127)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("long_side", "multiple"), [(128, 128), (512, 64), (64, 8)])
def test_fit_keeps_the_aspect_ratio(size: tuple[int, int], long_side: int, multiple: int) -> None:
    fit = Fit.of(size, long_side, multiple)
    assert max(fit.inner) == long_side
    assert all(side % multiple == 0 for side in fit.canvas)
    for i in (0, 1):
        assert fit.offset[i] >= 0
        assert fit.offset[i] + fit.inner[i] <= fit.canvas[i]
        assert abs(fit.inner[i] - max(1, size[i] * long_side / max(size))) <= 0.5


def test_padding_repeats_the_edge() -> None:
    picture = reading.read(Image.new("RGB", (300, 200), (10, 200, 30)))
    image = canvas.to_canvas(picture, Fit.of(picture.size, 128, 128))
    assert image.shape == (1, 3, 128, 128)
    expected = torch.tensor([10, 200, 30]).view(1, 3, 1, 1) / 127.5 - 1
    assert torch.allclose(image, expected.expand_as(image))


@pytest.mark.parametrize("size", [(128, 128), (128, 85), (85, 128)])
def test_round_trip_at_the_canvas_size_is_exact(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = reading.read(pixels)
    fit = Fit.of(picture.size, 128, 64)
    back = canvas.from_canvas(canvas.to_canvas(picture, fit), picture, fit)
    assert np.array_equal(np.asarray(back), pixels)


@pytest.mark.parametrize("size", SIZES)
def test_what_comes_back_has_the_input_size(size: tuple[int, int]) -> None:
    picture = reading.read(Image.new("RGB", size, "navy"))
    fit = Fit.of(size, 128, 128)
    back = canvas.from_canvas(canvas.to_canvas(picture, fit), picture, fit)
    assert back.size == size
    assert np.abs(np.asarray(back).astype(int) - np.asarray(picture.rgb)).max() <= 1


def test_outside_of_a_mask_is_the_inputs_own(photo: Image.Image) -> None:
    picture = reading.read(photo)
    fit = Fit.of(picture.size, 128, 128)
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (10, 10, 30, 30))
    mask.paste(128, (30, 10, 40, 30))
    black = torch.full((1, 3, 128, 128), -1.0)
    out = np.asarray(canvas.from_canvas(black, picture, fit, mask))
    m = np.asarray(mask)
    assert np.array_equal(out[m == 0], np.asarray(photo)[m == 0])
    assert (out[m == 255] == 0).all()
    half = np.asarray(photo)[m == 128] / 2
    assert np.abs(out[m == 128] - half).max() <= 1.5


def test_mask_on_the_canvas(photo: Image.Image) -> None:
    fit = Fit.of(photo.size, 128, 64)
    white = canvas.mask_to_canvas(Image.new("L", photo.size, 255), fit)
    assert white.shape == (1, 1, *fit.canvas[::-1])
    assert (white == 1).all()
    half = canvas.mask_to_canvas(Image.linear_gradient("L").resize(photo.size), fit)
    assert 0 <= half.min() < half.max() <= 1


def test_grey_alpha_and_profile_come_back(photo: Image.Image) -> None:
    fit = Fit.of(photo.size, 128, 128)
    alpha = Image.linear_gradient("L").resize(photo.size)
    image = photo.convert("LA")
    image.putalpha(alpha)
    picture = reading.read(image)
    back = canvas.from_canvas(canvas.to_canvas(picture, fit), picture, fit)
    assert back.mode == "LA"
    assert back.getchannel("A").tobytes() == alpha.tobytes()
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1).expand(1, 3, 128, 128)
    assert canvas.from_canvas(red, picture, fit).mode == "RGBA"


def test_eight_bits_are_rounded_and_clamped() -> None:
    values = torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_pixels(values)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (4000, 300), (1200, 1200)])
@pytest.mark.parametrize("drawn", [(0, 0, 30, 20), (180, 140, 260, 160), (250, 270, 300, 300)])
def test_a_crop_holds_the_mask_and_lies_inside(size: tuple[int, int], drawn: canvas.Box) -> None:
    mask = Image.new("L", size)
    mask.paste(1, drawn)
    box = canvas.crop_box(mask, size, least=64)
    assert box is not None
    left, top, right, bottom = box
    assert 0 <= left <= drawn[0]
    assert 0 <= top <= drawn[1]
    assert drawn[2] <= right <= size[0]
    assert drawn[3] <= bottom <= size[1]
    wanted = max(64, -(-max(drawn[2] - drawn[0], drawn[3] - drawn[1]) * 4 // 3))
    assert (right - left, bottom - top) == (min(wanted, size[0]), min(wanted, size[1]))


def test_no_crop_where_it_gains_nothing() -> None:
    mask = Image.new("L", (400, 300))
    assert canvas.crop_box(mask, mask.size) is None
    mask.paste(255, (50, 0, 349, 10))  # a third more is 399
    assert canvas.crop_box(mask, mask.size) == (0, 0, 399, 300)
    assert canvas.crop_box(mask, mask.size, least=400) is None
    mask.paste(255, (50, 0, 350, 10))
    assert canvas.crop_box(mask, mask.size) is None


def test_a_crop_takes_picture_alpha_and_mask_alike(photo: Image.Image) -> None:
    image = photo.convert("RGBA")
    clear = Image.linear_gradient("L").resize(photo.size).point(lambda level: max(level - 128, 0))
    image.putalpha(clear)
    picture = reading.read(image)
    assert picture.hidden is not None
    box = 18, 8, 28, 18
    part = canvas.crop(picture, box)
    assert part.size == (10, 10)
    assert part.rgb.tobytes() == picture.rgb.crop(box).tobytes()
    assert part.alpha is not None
    assert part.alpha.tobytes() == clear.crop(box).tobytes()
    assert part.hidden is not None
    assert part.hidden.tobytes() == photo.crop(box).tobytes()
    mask = reading.read_mask(np.pad(np.full((6, 6), 255, np.uint8), ((10, 24), (20, 34))), photo.size)
    prior = GaussianPrior({"": 0.0})  # not asked
    placed = Placed(prior=prior, picture=picture, mask=mask, box=box, fit=Fit.of(part.size, 10, 1))
    assert placed.part.rgb.tobytes() == part.rgb.tobytes()
    assert placed.opening is not None
    drawn = Image.fromarray((placed.opening[0, 0].numpy() * 255).astype(np.uint8))
    assert drawn.size == part.size
    assert drawn.getbbox() == (2, 2, 8, 8)
