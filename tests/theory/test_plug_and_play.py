"""Plug-and-Play on a network of random weights: what holds whatever the network says."""

from typing import Any

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.loops.ddim import ddim
from scumble.methods.plug_and_play import PlugAndPlay

from .test_p2p import SIZE, STEPS, prior  # noqa: F401

SMALL = {"steps": STEPS, "feature_block": 2}


def request(**changes: Any) -> EditRequest:
    image = Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1)
    return EditRequest(**{"image": image, "source": "a cat", "target": "a dog", "negative": "x", **changes})


@pytest.mark.slow
@torch.no_grad()
def test_without_injection_it_paints_the_target_from_the_sources_noise(prior: Any) -> None:  # noqa: F811
    method = PlugAndPlay(**SMALL, features=0, attention=0, guidance=3)
    start = method.prepare(prior, request()).trajectory[0]
    denoise = guide(prior, prior.embed(["a dog"]), prior.embed(["x"]), 3)
    plain = ddim(denoise, start, prior.schedule.grid(STEPS), prior.schedule)
    made = method(prior, request())
    torch.testing.assert_close(made.latent, plain, atol=1e-4, rtol=0)
    assert not torch.allclose(PlugAndPlay(**SMALL, guidance=3)(prior, request()).latent, plain, atol=1e-2)


@torch.no_grad()
def test_the_source_stays_on_its_chain(prior: Any) -> None:  # noqa: F811
    asked = request(keep=("source",))
    made: Any = PlugAndPlay(**SMALL)(prior, asked)
    assert torch.equal(made.kept["source"], prior.decode(prior.encode(asked.image)))
    assert made.evaluations == STEPS * (1 + 3)


def test_a_prompt_equal_to_the_sources_stays_with_it(prior: Any) -> None:  # noqa: F811
    """Unguided, with the source's empty prompt, the target differs from it by the inversion's error alone."""
    empty = request(source="", target="", negative="")
    clean = prior.encode(empty.image)
    plain, led = (
        (PlugAndPlay(**SMALL, guidance=1, features=u, attention=u)(prior, empty).latent - clean).abs().max()
        for u in (0, 1)
    )
    assert led < plain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_block": 4}, "residual block 4 on the way up: not in this network, which has"),
        ({"attention_layer": 4}, "self-attention from layer 4 on the way up: not in this network, which has"),
    ],
)
def test_places_that_are_not_there_are_refused(settings: Any, message: str, prior: Any) -> None:  # noqa: F811
    asked: list[object] = []
    with pytest.raises(InputError, match=message):
        PlugAndPlay(**{**SMALL, **settings})(prior, request(), asked.append)
    assert not asked
