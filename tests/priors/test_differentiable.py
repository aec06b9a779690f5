"""Methods that differentiate through the network refuse one that cannot be, in words, and run on one that can."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.quantizers.quantization_config import QuantizationMethod
from torch import nn

import scumble
from scumble.core.errors import InputError
from scumble.core.request import EditRequest
from scumble.methods.null_text import NullText
from scumble.methods.pix2pix_zero import Pix2PixZero
from scumble.priors._card import differentiable

METHODS = (NullText(steps=1, inner_steps=1), Pix2PixZero(steps=1))
SAYS = "needs a model with gradient, which .* does not have; load it unquantised, its layers not offloaded"


def quantised(unet: Any) -> None:
    """As a quantiser leaves a layer: whole numbers, and a scale."""
    unet.conv_out.weight = nn.Parameter(torch.zeros(4, 16, 3, 3, dtype=torch.int8), requires_grad=False)


def marked(unet: Any) -> None:
    unet.is_quantized = True


def offloaded(unet: Any) -> None:
    from accelerate import cpu_offload

    cpu_offload(unet, torch.device("cpu"))


class GGUFParameter(nn.Parameter):
    """Stands for diffusers' own, which needs the package gguf: bytes, written out before each product."""


def test_a_gradient_goes_through_gguf(pristine: Path) -> None:
    prior = scumble.load(pristine, device="cpu")
    packed = GGUFParameter(torch.zeros(4, 16, dtype=torch.uint8), requires_grad=False)
    prior._unet.conv_out.weight = packed
    prior._unet.is_quantized = True
    assert not differentiable(prior._unet)
    prior._unet.quantization_method = QuantizationMethod.GGUF
    assert differentiable(prior._unet)
    prior._unet.quantization_method = QuantizationMethod.BITS_AND_BYTES
    assert not differentiable(prior._unet)


@pytest.mark.parametrize("spoil", [quantised, marked, offloaded])
def test_networks_that_cannot_be_differentiated_are_refused(spoil: Any, pristine: Path) -> None:
    prior = scumble.load(pristine, device="cpu")
    request = EditRequest(image=torch.zeros(1, 3, 16, 16), source="a", target="b")
    assert "gradient" in prior.card.capabilities
    spoil(prior._unet)
    assert prior.card.capabilities == {"text", "control"}
    for method in METHODS:
        with pytest.raises(InputError, match=SAYS):
            method(prior, request)


def test_offloading_whole_components_leaves_the_gradient(pristine: Path) -> None:
    from accelerate import cpu_offload_with_hook

    prior = scumble.load(pristine, device="cpu")
    cpu_offload_with_hook(prior._unet, torch.device("cpu"))
    assert differentiable(prior._unet)


def test_the_sequential_setting_is_refused_and_the_offload_setting_is_not(pristine: Path) -> None:
    for memory, able in (("sequential", False), ("offload", True)):
        prior = scumble.load(pristine, device="cpu", memory=(memory,))
        assert ("gradient" in prior.card.capabilities) == able
    request = EditRequest(image=torch.zeros(1, 3, 16, 16), source="a", target="b")
    assert METHODS[0](prior, request).raw.isfinite().all()
