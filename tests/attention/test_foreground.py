"""Masked mutual self-attention against the published form: two softmaxes, one over each side of the source's mask."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.attention.blend import places
from scumble.attention.foreground import Foreground
from scumble.attention.maps import Record
from scumble.attention.words import read_regions
from scumble.core.control import Now, Site
from scumble.core.errors import InputError
from scumble.core.request import EditRequest
from scumble.methods.masactrl import FOLLOWS, SOURCE, TARGET, MasaCtrl
from tests.theory.test_masactrl import paint
from tests.theory.test_p2p import SIZE, STEPS, prior  # noqa: F401

from .letters import LIMIT, text
from .test_edits import ALWAYS, random

CROSS, SELF = Site("cross", "down", 0, 2, 0), Site("self", "up", 0, 1, 1)
ROWS = (("source", "null"), ("target", "null"), SOURCE, TARGET)
PLACES = {"source": [0, 1], "target": [4, 5]}  # of 2 x 3, where the first words are looked for


def call() -> Now:
    times = torch.full((len(ROWS),), 3.0, dtype=torch.float64)
    return Now(times, times, ROWS, (4, 6))  # pyright: ignore[reportArgumentType]


def foreground() -> Foreground:
    words, _ = places(read_regions("foreground", "a|b"), text("a c"), text("b c"))
    record = Record((SOURCE, TARGET))
    return Foreground(
        record, SOURCE, TARGET, record.settle([CROSS], 2), words, 0.1, lambda site: site.kind == "self", FOLLOWS, ALWAYS
    )  # fmt: skip


def look(edit: Foreground, now: Now) -> None:
    seen = torch.zeros(len(ROWS), 2, 6, LIMIT, dtype=torch.float64)
    for row, name in ((2, "source"), (3, "target")):
        seen[row, :, PLACES[name], 1] = 0.5
    assert torch.equal(edit(CROSS, seen, now), seen)


def published(sim: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """sim (heads, q, k) with the source's keys: the softmax over its foreground where the target's is, else over the
    rest, by what masked_fill makes of the other side.
    """
    least = torch.finfo(sim.dtype).min
    front = (sim + theirs.masked_fill(theirs == 0, least)).softmax(-1)
    back = (sim + theirs.masked_fill(theirs == 1, least)).softmax(-1)
    return front * ours[:, None] + back * (1 - ours[:, None])


def test_a_place_looks_at_its_own_kind_as_published() -> None:
    edit, now, sim = foreground(), call(), random(4, 2, 24, 24)
    look(edit, now)
    after = edit(SELF, sim.softmax(-1), now)
    coarse = {name: torch.zeros(6, dtype=torch.float64) for name in PLACES}
    for name, where in PLACES.items():
        coarse[name][where] = 1
    ours, theirs = (
        torch.nn.functional.interpolate(coarse[name].view(1, 1, 2, 3), (4, 6)).flatten()
        for name in ("target", "source")
    )
    for row in (1, 3):  # the targets' null row and their text row
        torch.testing.assert_close(after[row], published(sim[row], ours, theirs))
    assert torch.equal(after[[0, 2]], sim[[0, 2]].softmax(-1))


def test_every_call_has_masks_of_its_own_and_the_first_layers_none() -> None:
    edit, maps = foreground(), random(4, 2, 24, 24).softmax(-1)
    look(edit, call())
    later = call()
    assert edit(SELF, maps, later) is maps  # no words have been looked at in this call
    look(edit, later)
    assert not torch.equal(edit(SELF, maps, later), maps)


def test_a_place_that_finds_nothing_of_its_kind_looks_everywhere() -> None:
    edit, now, maps = foreground(), call(), random(4, 2, 24, 24).softmax(-1)
    edit.words[1] = 0  # no place of the target is foreground
    look(edit, now)
    maps[..., 8:] = 0
    maps = maps / maps.sum(-1, keepdim=True)
    maps[3, :, :, [2, 3, 6, 7]] = maps[3, :, :, [4, 5, 0, 1]] = 0
    maps[3, :, :, 0] = 1  # all that it looks at is the source's foreground
    after = edit(SELF, maps, now)
    assert torch.equal(after[3], maps[3])
    assert after.isfinite().all()


def test_it_changes_the_target_and_never_the_source(prior: Any) -> None:  # noqa: F811
    plain, masked = (paint(prior, "a cat", "a dog", foreground=said) for said in ("", "cat | dog"))
    torch.testing.assert_close(plain.kept["source"], masked.kept["source"], atol=1e-3, rtol=0)
    assert (plain.raw - masked.raw).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("cat | tiger", "'tiger' is in none of the prompts"),
        ("cat -a | dog", "foreground: words with a minus have no meaning here"),
        ("|", "foreground: '|' names no word for the source"),
    ],
)
def test_words_that_cannot_be_found_are_refused(said: str, message: str, prior: Any) -> None:  # noqa: F811
    request = EditRequest(size=SIZE, source="a cat", target="a dog")
    with pytest.raises(InputError) as refused:
        MasaCtrl(steps=STEPS, layer=0, start=0, foreground=said)(prior, request)
    assert message in str(refused.value)
