"""Settings that save memory give the same picture; where memory runs out, one line says what to do."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import SlicedAttnProcessor

from scumble.core.errors import InputError, MachineError
from scumble.core.request import EditRequest
from scumble.methods.dds import DDS
from scumble.methods.sdedit import SDEdit
from scumble.priors._find import builtin
from scumble.priors._memory import MEMORY, Desk
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.scenes.render import render
from scumble.scenes.world import Scene, Thing

from .test_attention import Control


def edited(prior: StableDiffusionPrior, method: Any, side: int = 16) -> torch.Tensor:
    x = torch.linspace(-1, 1, side)
    image = torch.stack([x.expand(side, side), x[:, None].expand(side, side), x.expand(side, side).flip(1)])[
        None
    ]
    return method(prior, EditRequest(image=image, source="a cat", target="a dog")).raw


@pytest.mark.parametrize(
    "memory", [["slicing"], ["text"], ["offload"], ["sequential"], ["slicing", "tiling", "offload"]]
)
@pytest.mark.parametrize(  # a low guidance: 7.5 would amplify the rounding of rows in other batches fifteenfold
    "method", [DDS(steps=2, guidance=2), SDEdit(steps=2, guidance=2)], ids=lambda m: type(m).__name__
)
def test_each_gives_the_same_picture(
    pristine: Path, prior: StableDiffusionPrior, memory: Sequence[str], method: Any
):
    saving = load_prior(str(pristine), device="cpu", memory=memory)
    assert saving.loaded["memory"] == memory
    assert torch.allclose(edited(saving, method), edited(prior, method), atol=1e-5)


def test_a_picture_within_one_tile_is_the_same(pristine: Path, prior: StableDiffusionPrior):
    tiled = load_prior(str(pristine), device="cpu", memory=["tiling"])
    side = tiled._vae.tile_sample_min_size
    assert torch.equal(edited(tiled, DDS(steps=1), side), edited(prior, DDS(steps=1), side))


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(not builtin("scenes").is_dir(), reason="the weights are not in this checkout")
def test_the_tiles_of_a_trained_codec_meet():
    """Each tile is normalised by itself: close, not equal. A codec with random weights would not even be close."""
    whole, tiled = (load_prior("scenes", device="cpu", memory=memory) for memory in ((), "tiling"))
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="brick")
    side = 2 * tiled._vae.tile_sample_min_size
    image = torch.tensor(render(scene, side)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        one, many = (prior.decode(prior.encode(image)) for prior in (whole, tiled))
    error = (one - many).square().mean().item()
    assert error > 0
    assert 10 * math.log10(4 / error) > 30  # dB; measured: 37


def test_a_control_sees_all_rows_under_slicing(pristine: Path):
    prior = load_prior(str(pristine), device="cpu", memory="slicing")
    text = prior.embed(["a", "b"])
    control = Control("self")
    with prior.control(control):
        prior.predict(torch.zeros(2, 4, 8, 8), torch.tensor([5, 5]), text)
    assert {maps[0] for _, maps, _ in control.seen} == {2}


def test_rows_pass_one_by_one(pristine: Path, monkeypatch: pytest.MonkeyPatch):
    prior = load_prior(str(pristine), device="cpu", memory=("slicing",))
    rows = []
    prior._unet.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    prior.predict(torch.zeros(3, 4, 8, 8), torch.tensor([5, 6, 7]), prior.embed(["a"]))
    assert rows == [1, 1, 1]


def test_without_fused_attention_maps_are_sliced(pristine: Path, prior: StableDiffusionPrior):
    sliced = load_prior(str(pristine), device="cpu")
    desk = Desk(torch.device("mps"), ["slicing"])
    desk.prepare(sliced._unet, sliced._vae, sliced._text_encoder)
    assert any(isinstance(p, SlicedAttnProcessor) for p in sliced._unet.attn_processors.values())
    assert torch.allclose(edited(sliced, DDS(steps=2)), edited(prior, DDS(steps=2)), atol=1e-5)


def test_one_component_at_a_time_is_on_the_device():
    """On a device of torch's that keeps no data, so that it is there on every machine."""
    desk = Desk(torch.device("meta"), ["offload"])
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert desk.home.type == "cpu"
    with desk.at_work(first):
        assert first.weight.is_meta
        assert not second.weight.is_meta
    desk._there = []  # nothing comes back from there
    with desk.at_work(second):
        assert second.weight.is_meta


def test_what_replaces_a_component_stays_beside_its_mate():
    """Network and codec stay together beside `--memory text`, also where the codec has become another."""
    desk = Desk(torch.device("meta"), ["text"])
    network, codec, wide = (torch.nn.Linear(2, 2) for _ in range(3))
    desk._together = [network, codec]
    for module in (network, codec):
        with desk.at_work(module):
            pass
    desk.replace(codec, wide)
    for module in (wide, network):
        with desk.at_work(module):
            assert [id(each) for each in desk._there] == [id(network), id(wide)]


def test_a_gradient_through_network_and_codec_finds_both_on_the_device(
    pristine: Path, monkeypatch: pytest.MonkeyPatch
):
    """What waits at home is NaN here, as weights that left the device fail the gradient there."""
    prior, plain = (load_prior(str(pristine), device="cpu", memory=memory) for memory in (["offload"], []))
    assert isinstance(prior, StableDiffusionPrior)
    monkeypatch.setattr(Desk, "home", torch.device("meta"))
    modules = (prior._unet, prior._vae, prior._text_encoder)
    for module in modules:
        monkeypatch.setattr(module, "to", taking_turns(module))
        module.to(torch.device("meta"))

    def gradient(asked: Any) -> torch.Tensor:
        x = torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8).requires_grad_()
        picture = asked.decode(asked.predict(x, torch.tensor([500]), asked.embed(["a"])).x0)
        return torch.autograd.grad(picture.sum(), x)[0]

    torch.testing.assert_close(gradient(prior), gradient(plain))
    torch.testing.assert_close(gradient(prior), gradient(plain))
    with torch.no_grad():
        prior.embed(["a cat"])
        assert [id(each) for each in prior._desk._there] == [id(prior._text_encoder)]
        prior.decode(torch.zeros(1, 4, 8, 8))
        assert [id(each) for each in prior._desk._there] == [id(prior._vae)]


def taking_turns(module: torch.nn.Module) -> Any:
    """Stands for `module.to`: away from the device, named "meta", its weights are NaN."""
    kept = {name: weight.data for name, weight in module.named_parameters()}

    def to(device: torch.device) -> torch.nn.Module:
        for name, weight in module.named_parameters():
            weight.data = torch.full_like(kept[name], torch.nan) if device.type == "meta" else kept[name]
        return module

    return to


def test_layers_are_on_the_device_only_at_work(pristine: Path):
    prior = load_prior(str(pristine), device="cpu", memory=["sequential"])
    assert all(p.is_meta for p in prior.parameters("denoiser").values())
    assert not any(p.is_meta for p in prior.parameters("codec").values())


@pytest.mark.parametrize(
    ("memory", "match"),
    [
        (["slices"], "memory: 'slices'; known are slicing, tiling, text, offload, 8bit, 4bit, sequential"),
        (["offload", "sequential"], "exclude each other"),
    ],
)
def test_unknown_and_contrary_settings(pristine: Path, memory: list[str], match: str):
    with pytest.raises(InputError, match=match):
        load_prior(str(pristine), device="cpu", memory=memory)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("part", ["_unet", "_vae", "_text_encoder"])
def test_out_of_memory_in_one_line(
    pristine: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, part: str
):
    prior = load_prior(str(pristine), device="cpu", memory=["slicing"])

    def fail(*args: object, **options: object) -> None:
        raise error

    module = getattr(prior, part)
    monkeypatch.setattr(module, "encode" if part == "_vae" else "forward", fail)
    with pytest.raises(
        MachineError, match=r"GB were in use.*GB are free.*--memory tiling.*smaller --size"
    ) as caught:
        edited(prior, DDS(steps=1))
    assert "\n" not in str(caught.value)


def test_other_errors_pass(pristine: Path, monkeypatch: pytest.MonkeyPatch):
    prior = load_prior(str(pristine), device="cpu")

    def fail(*args: object, **options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(prior._unet, "forward", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        edited(prior, DDS(steps=1))


def test_every_setting_is_explained():
    assert all(MEMORY.values())
