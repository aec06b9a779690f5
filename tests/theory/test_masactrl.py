"""MasaCtrl on a network of random weights: what holds whatever the network says."""

from typing import Any

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.request import EditRequest
from scumble.methods.masactrl import MasaCtrl

from .test_p2p import SIZE, STEPS, prior, sample  # noqa: F401


def paint(prior: Any, source: str, target: str, **settings: Any) -> Any:  # noqa: F811
    request = EditRequest(size=SIZE, source=source, target=target, seed=3, keep=("source", "attention"))
    return MasaCtrl(**{"steps": STEPS, "layer": 0, "start": 0, **settings})(prior, request)


def test_equal_prompts_give_the_source_bit_for_bit(prior: Any) -> None:  # noqa: F811
    made = paint(prior, "a cat", "a cat")
    assert torch.equal(made.raw, made.kept["source"])


def test_an_edit_that_never_starts_leaves_two_plain_samples(prior: Any) -> None:  # noqa: F811
    made = paint(prior, "a cat", "a dog", start=1)
    torch.testing.assert_close(made.kept["source"], sample(prior, "a cat", 7.5), atol=1e-3, rtol=0)
    torch.testing.assert_close(made.raw, sample(prior, "a dog", 7.5), atol=1e-3, rtol=0)


def test_the_source_is_never_touched_and_the_target_is(prior: Any) -> None:  # noqa: F811
    made = paint(prior, "a cat", "a dog")
    torch.testing.assert_close(made.kept["source"], sample(prior, "a cat", 7.5), atol=1e-3, rtol=0)
    assert (made.raw - sample(prior, "a dog", 7.5)).abs().max() > 1e-2
    assert made.attention["target"]["dog"].shape == (1, 1, 4, 8)


@pytest.mark.parametrize("keep", [(), ("attention",)])
def test_layers_that_are_not_there_are_refused(keep: tuple[str, ...], prior: Any) -> None:  # noqa: F811
    request = EditRequest(size=SIZE, source="a cat", target="a dog", keep=keep)
    with pytest.raises(
        InputError, match=r"self-attention from layer 7 on: not in this network, which has 2 cross"
    ):
        MasaCtrl(steps=STEPS, layer=7)(prior, request)
