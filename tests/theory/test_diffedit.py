"""DiffEdit on Gaussians whose means differ in one part: the mask, what it keeps, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import Text
from scumble.core.request import EditRequest
from scumble.methods.dds import DDS
from scumble.methods.diffedit import DiffEdit, threshold
from scumble.priors.exact import GaussianPrior

METHOD = DiffEdit(steps=10, draws=2)


def prior(b: Tensor | None = None) -> GaussianPrior:
    a = torch.full((3, 4, 8), 0.2, dtype=torch.float64)
    return GaussianPrior({"": a, "a": a, "b": changed() if b is None else b}, 0.5)


def changed() -> Tensor:
    b = torch.full((3, 4, 8), 0.2, dtype=torch.float64)
    b[..., :3] = -0.6
    return b


def request(b: int = 1, **data: Any) -> EditRequest:
    image = Noise(3, b).like(torch.empty(b, 3, 4, 8, dtype=torch.float64)).clamp(-2, 2) / 2
    return EditRequest(**{"image": image, "source": "a", "target": "b", **data})


def test_the_mask_is_where_the_prompts_differ_and_the_rest_is_kept_exactly() -> None:
    asked = request()
    edit = METHOD(prior(), asked)
    mask = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    mask[..., :3] = 1
    assert torch.equal(edit.mask, mask)
    assert asked.image is not None
    assert torch.equal(edit.raw[..., 3:], asked.image[..., 3:])
    assert float(edit.raw[..., :3].mean() - asked.image[..., :3].mean()) < -0.5
    assert edit.evaluations == 2 * 2 + 8 + 2 * 8  # two draws, the way up without guidance, and down with it


def test_every_state_outside_the_mask_stands_on_the_chain() -> None:
    asked = request(keep=("trajectory",))
    inversion = METHOD.prepare(prior(), asked)
    states: Any = METHOD(prior(), asked).kept["trajectory"]
    for state, below in zip(states[-8:], inversion.trajectory[1:], strict=True):
        assert torch.equal(state[..., 3:], below[..., 3:])


def test_a_drawn_mask_takes_the_place_of_the_one_found() -> None:
    drawn = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    drawn[..., 5:] = 1
    asked = request(mask=drawn)
    edit = METHOD(prior(), asked)
    assert torch.equal(edit.mask, drawn)
    assert asked.image is not None
    assert torch.equal(edit.raw[..., :5], asked.image[..., :5])


def test_a_picture_has_a_mask_of_its_own_whatever_its_companions() -> None:
    found = torch.zeros(2, 1, 2, 2)
    found[0, 0, 0, 0] = 4.0
    found[1] = torch.tensor([[0.1, 0.3], [0.0, 0.0]])
    alone = torch.cat([threshold([row[None]], 3, 0.5, together=False) for row in found])
    assert torch.equal(threshold([found], 3, 0.5, together=False), alone)
    assert not torch.equal(threshold([found], 3, 0.5, together=True), alone)


def test_outliers_are_cut_so_that_one_pixel_does_not_hide_the_rest() -> None:
    found = torch.full((1, 1, 4, 4), 1.0)
    found[..., 2:] = 0.0
    found[0, 0, 0, 0] = 100.0
    assert float(threshold([found], 10, 0.5, together=False).sum()) == 1
    assert float(threshold([found], 0.2, 0.5, together=False).sum()) == 8


@pytest.mark.parametrize(
    ("says", "b", "data"),
    [
        ("mask: empty; the prompts disagree nowhere", None, {"target": "a"}),
        ("mask: empty; the prompts disagree nowhere", torch.full((3, 4, 8), -0.6), {}),
        ("mask: empty; nothing may change", None, {"mask": torch.zeros(1, 1, 4, 8)}),
    ],
)
def test_an_empty_mask_is_refused(says: str, b: Tensor | None, data: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=says):
        METHOD(prior(b), request(**data))


def test_the_picture_whose_mask_is_empty_is_named() -> None:
    with pytest.raises(InputError, match="mask: empty of picture 2 of 2; the prompts disagree nowhere"):
        METHOD(prior(), request(image=torch.zeros(2, 3, 4, 8, dtype=torch.float64), target=["b", "a"]))


class Rounding(GaussianPrior):
    """The last row of a call comes out a little differently, as where a kernel splits a batch among threads."""

    def x0(self, x_t: Tensor, t: Tensor, text: Text) -> Tensor:
        x0 = super().x0(x_t, t, text)
        x0[-1, :, 0, 0] += 1e-9
        return x0


def test_rounding_is_no_mask() -> None:
    means = {"": 0.0, "a": 0.2, "b": -0.6}
    with pytest.raises(InputError, match="mask: empty; the prompts disagree nowhere"):
        METHOD(Rounding(means, 0.5), request(target="a"))


def test_a_mask_of_everything_is_refused() -> None:
    with pytest.raises(InputError, match="mask: it is the whole picture; raise the threshold"):
        DiffEdit(steps=10, draws=2, threshold=0.1)(prior(torch.full((3, 4, 8), -0.6)), request())


def test_a_method_without_a_mask_says_so() -> None:
    with pytest.raises(InputError, match="mask: this method makes none"):
        _ = DDS(steps=1)(prior(), request()).mask
