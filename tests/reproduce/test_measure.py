"""The numbers of the figures, and the paths they are taken from."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from scumble.core.noise import Noise
from scumble.reproduce import measure
from scumble.reproduce.material import Material
from scumble.reproduce.paths import Pulled, follow, stops, times


def test_blur_takes_sharpness_away(circle: Image.Image) -> None:
    blurred = circle.filter(ImageFilter.GaussianBlur(2))
    sharp, soft = (measure.sharpness(np.asarray(picture)) for picture in (circle, blurred))
    assert soft < 0.5 * sharp
    assert measure.sharpness(np.full((8, 8, 3), 77, np.uint8)) == 0


def test_outside_counts_what_must_stay() -> None:
    a, b = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    b[:2] = 10
    mask = np.zeros((4, 4), bool)
    mask[:1] = True
    assert measure.outside(a, b, mask) == pytest.approx(np.sqrt(100 / 3))
    assert measure.outside(a, b, None) is None
    assert measure.outside(a, b, np.ones((4, 4), bool)) is None


def test_gradients_in_numbers() -> None:
    a = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]]).reshape(3, 2, 1, 1)
    b = torch.tensor([[0.0, 2.0], [6.0, 8.0], [1.0, 1.0]]).reshape(3, 2, 1, 1)
    assert measure.cosine(a, b).tolist() == pytest.approx([0, 1, 0])
    assert measure.norm(a).tolist() == pytest.approx([np.sqrt(0.5), np.sqrt(12.5), 0])
    grad = torch.ones(1, 2, 2, 2)
    grad[0, :, 0, 0] = 3
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0, 0] = 1
    assert measure.inside(measure.energy(grad), mask).tolist() == pytest.approx([18 / 24])


def test_all_pairs() -> None:
    pictures = np.stack([np.full((2, 2, 3), v, np.uint8) for v in (0, 10, 30)])
    assert measure.apart(pictures) == [(0, 1, 10), (0, 2, 30), (1, 2, 20)]


def test_stops_and_times() -> None:
    assert stops(200) == [0, 10, 25, 50, 75, 100, 150, 200]
    assert stops(1) == [0, 1]
    assert times(3) == [200, 500, 799]


def test_paths_do_not_depend_on_the_batch(material: Material) -> None:
    from dataclasses import replace

    whole = material.path(lambda m: m.dds(), [0, 3])
    parts = replace(material, batch=3).path(lambda m: m.dds(), [0, 3])
    assert torch.equal(whole, parts)
    draws = [(100.0, 1), (600.0, 2)]
    grads = [
        m.gradients(lambda m: m.sds(m.source), m.z, draws) for m in (material, replace(material, batch=3))
    ]
    assert torch.equal(*grads)


def test_all_pictures_see_one_noise(material: Material) -> None:
    one = material.first(1)
    draws = [(500.0, 5)]
    grads = material.gradients(
        lambda m: m.sds([one.source[0]] * len(m)), one.z.expand(len(material), -1, -1, -1), draws
    )
    assert torch.equal(grads[0], grads[0, :1].expand_as(grads[0]))


def test_a_path_is_the_methods_own(material: Material) -> None:
    from scumble import DDS, EditRequest

    image = material.images(material.z)
    request = EditRequest(image=image, source=material.source, target=material.target, seed=material.seed)
    edit = DDS(steps=4, guidance=3.0)(material.prior, request)
    assert torch.equal(material.path(lambda m: m.dds(), [4])[0], edit.latent)


def test_the_pull_leads_back(material: Material) -> None:
    x = material.z + 1

    def nothing(x: torch.Tensor, t: torch.Tensor, noise: Noise) -> torch.Tensor:
        return torch.zeros_like(x)

    (end,) = follow(Pulled(nothing, material.z, 1.0), x, Noise(0, len(material)), [10], rate=0.1)
    assert torch.allclose(end - material.z, torch.full_like(x, 0.9**10), atol=1e-5)


def test_what_is_seen(material: Material) -> None:
    first = material.seen(material.z)
    assert [row["distance"] for row in first] == [0.0] * 4
    done = material.seen(material.truth)
    assert [row["achieved"] for row in done] == [1.0] * 4
    assert [row["sharpness"] for row in done] == [1.0] * 4
    assert all(row["outside"] == 0 for row in done)
    still = material.still()
    rows = still.seen(still.z)
    assert [row["sharpness"] for row in rows] == [1.0] * 4
    assert {row["achieved"] for row in rows} | {row["outside"] for row in rows} == {None}
    assert still.target == material.source
    assert material.directions(material.z) == [0.0] * 4
    assert all(material.directions(material.truth))
