"""Controls reach their sites, change what comes out, and leave the network as it was."""

from collections.abc import Callable

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from scumble.core.control import Now, Site
from scumble.core.errors import InputError
from scumble.core.prior import Text, ask
from scumble.priors._attention import installed, sites
from scumble.priors.stable_diffusion import StableDiffusionPrior

from .conftest import make_unet

T = torch.tensor([500, 200])


class Control:
    """Wants the sites of some kinds, notes each call, attends with an explicit softmax, applies `change`."""

    def __init__(self, *kinds: str, change: Callable[[Tensor], Tensor] = lambda x: x):
        self.kinds, self.change = kinds, change
        self.seen: list[tuple[Site, tuple[int, ...], Now]] = []

    def wants(self, site: Site) -> bool:
        return site.kind in self.kinds

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        self.seen.append((site, tuple(maps.shape), now))
        return self.change(maps) @ v

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        self.seen.append((site, tuple(h.shape), now))
        return self.change(h)


def inputs(prior: StableDiffusionPrior) -> tuple[Tensor, Text]:
    x_t = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    return x_t, prior.embed(["a cat", "a dog"])


def snapshot(prior: StableDiffusionPrior) -> list[object]:
    """Every processor and hook of the network, by identity."""
    hooks = [
        (n, *m._forward_hooks.values(), *m._forward_pre_hooks.values())
        for n, m in prior._unet.named_modules()
    ]
    return [*prior._unet.attn_processors.items(), *hooks]


# kind -> the shapes it is shown on a latent of 8 x 12: by stride: 96 or 24 tokens, 4 heads, 16 or 32 channels
SHAPES = {
    "self": {1: (2, 4, 96, 96), 2: (2, 4, 24, 24)},
    "cross": {1: (2, 4, 96, 16), 2: (2, 4, 24, 16)},
    "self_out": {1: (2, 96, 16), 2: (2, 24, 32)},
    "resnet": {1: (2, 16, 8, 12), 2: (2, 32, 4, 6)},
    "mid": {2: (2, 32, 4, 6)},
}
COUNTS = {"self": 7, "cross": 7, "self_out": 7, "resnet": 8, "mid": 1}


@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_a_recording_control_reaches_its_sites_and_changes_nothing(prior: StableDiffusionPrior, kind: str):
    x_t, text = inputs(prior)
    plain = prior.predict(x_t, T, text)
    before = snapshot(prior)
    control = Control(kind)
    with prior.control(control):
        watched = prior.predict(x_t, T, text)
    torch.testing.assert_close(watched.eps, plain.eps, rtol=1e-4, atol=1e-5)
    assert len(control.seen) == COUNTS[kind]
    assert {site.stride: shape for site, shape, _ in control.seen} == SHAPES[kind]
    assert len({site for site, _, _ in control.seen}) == COUNTS[kind]
    assert snapshot(prior) == before
    assert torch.equal(prior.predict(x_t, T, text).eps, plain.eps)


@pytest.mark.parametrize("kind", SHAPES)
@torch.no_grad()
def test_a_control_changes_what_comes_out(prior: StableDiffusionPrior, kind: str):
    x_t, text = inputs(prior)
    plain = prior.predict(x_t, T, text)
    with prior.control(
        Control(kind, change=lambda h: h.flip(1))
    ):  # other heads', tokens' or channels' values
        changed = prior.predict(x_t, T, text)
    assert (changed.eps - plain.eps).abs().max() > 1e-3


@pytest.mark.parametrize("kind", SHAPES)
def test_a_control_keeps_the_graph(prior: StableDiffusionPrior, kind: str):
    x_t, text = inputs(prior)
    kept: list[Tensor] = []

    def keep(h: Tensor) -> Tensor:
        kept.append(h)
        return h

    with prior.control(Control(kind, change=keep)):
        prior.predict(x_t.requires_grad_(), T, text)
    (gradient,) = torch.autograd.grad(sum(h.square().sum() for h in kept), x_t)
    assert gradient.abs().max() > 0


def test_sites_count_in_execution_order(prior: StableDiffusionPrior):
    def indices(kind: str, block: str) -> list[tuple[int, int]]:
        return [(s.index, s.stride) for s in sites(prior._unet) if (s.kind, s.block) == (kind, block)]

    assert indices("cross", "down") == [(0, 1), (1, 2)]
    assert indices("cross", "mid") == [(0, 2)]
    assert indices("cross", "up") == [(0, 2), (1, 2), (2, 1), (3, 1)]
    assert indices("resnet", "up") == [(0, 2), (1, 2), (2, 1), (3, 1)]
    assert [s.layer for s in sites(prior._unet) if s.kind == "cross"] == [0, 1, 2, 3, 4, 5, 6]
    assert [s.grid((9, 12)) for s in sites(prior._unet) if s.kind == "mid"] == [(5, 6)]

    control = Control("cross")
    with prior.control(control), torch.no_grad():
        x_t, text = inputs(prior)
        prior.predict(x_t, T, text)
    assert [(s.block, s.index) for s, _, _ in control.seen] == [
        ("down", 0), ("down", 1), ("mid", 0), ("up", 0), ("up", 1), ("up", 2), ("up", 3)
    ]  # fmt: skip


@torch.no_grad()
def test_a_site_is_told_the_moment_and_the_rows(prior: StableDiffusionPrior):
    x_t, text = inputs(prior)
    control, at = Control("mid"), torch.tensor([90, 80])
    rows = {("source", "text"): (x_t, text), ("target", "null"): (x_t, text)}
    with prior.control(control):
        ask(prior, rows, T, at)
        prior.predict(x_t, T, text)
    (_, shape, now), (_, _, unnamed) = control.seen
    assert shape[0] == 4
    assert now.rows == (("source", "text"),) * 2 + (("target", "null"),) * 2
    assert torch.equal(now.t, T.repeat(2))
    assert torch.equal(now.at, at.repeat(2))
    assert unnamed.rows == (None, None)
    assert unnamed.at is unnamed.t
    assert now.latent == (8, 12)
    assert (now.find(("target", "null")), now.find(("target", "text"))) == ([2, 3], [])


@torch.no_grad()
def test_other_layers_keep_their_fused_kernel(prior: StableDiffusionPrior):
    first = Site("self", "down", 0, 1, 0)

    class One(Control):
        def wants(self, site: Site) -> bool:
            return site == first

    processors = prior._unet.attn_processors
    with prior.control(One()):
        replaced = [name for name, p in prior._unet.attn_processors.items() if p is not processors[name]]
    assert replaced == ["down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor"]


@pytest.mark.parametrize("kind", ["cross", "resnet"])
def test_the_network_is_restored_after_an_exception(prior: StableDiffusionPrior, kind: str):
    x_t, text = inputs(prior)
    before = snapshot(prior)

    def fail(h: Tensor) -> Tensor:
        raise ArithmeticError("inside the control")

    with (
        pytest.raises(ArithmeticError, match="inside the control"),
        prior.control(Control(kind, change=fail)),
    ):
        prior.predict(x_t, T, text)
    assert snapshot(prior) == before
    with prior.control(Control(kind)), torch.no_grad():  # and it can be controlled again
        prior.predict(x_t, T, text)


def test_a_control_that_matches_nothing_is_refused(prior: StableDiffusionPrior):
    before = snapshot(prior)
    with (
        pytest.raises(InputError, match=r"Control wants no site of this network, which has 2 cross in down"),
        prior.control(Control("temporal")),
    ):
        pass
    assert snapshot(prior) == before


@torch.no_grad()
def test_a_control_that_the_network_passes_by_is_refused_at_the_first_call(prior: StableDiffusionPrior):
    x_t, text = inputs(prior)
    before, processors = snapshot(prior), prior._unet.attn_processors
    with pytest.raises(InputError, match="never reached 2 cross in down"), prior.control(Control("cross")):
        for name, layer in prior._unet.named_modules():
            if "down" in name and name.endswith("attn2"):  # another tool puts its own processor in
                layer.set_processor(processors[f"{name}.processor"])
        prior.predict(x_t, T, text)
    assert snapshot(prior) == before


def test_two_controls_at_once_are_refused(prior: StableDiffusionPrior):
    before = snapshot(prior)
    with (
        pytest.raises(InputError, match="under a control already"),
        prior.control(Control("self")),
        prior.control(Control("cross")),
    ):
        pass
    assert snapshot(prior) == before


@torch.no_grad()
def test_products_are_upcast_where_the_checkpoint_asks_for_it(prior: StableDiffusionPrior):
    torch.manual_seed(0)
    half = StableDiffusionPrior.from_pipeline(_Parts(prior, make_unet(upcast_attention=True).half()))
    dtypes: list[torch.dtype] = []

    class Dtypes(Control):
        def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
            dtypes.extend((q.dtype, k.dtype, v.dtype))
            return super().attend(site, q, k, v.to(q.dtype), now)

    x_t, text = inputs(prior)
    with half.control(Dtypes("self")):
        assert half.predict(x_t, T, text).eps.isfinite().all()
    assert dtypes[:3] == [torch.float32, torch.float32, torch.float16]


@torch.no_grad()
def test_pixel_networks_have_sites_too():
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()
    x_t = torch.randn(2, 3, 8, 12)
    plain = unet(x_t, T).sample
    for kind, count in {"self": 6, "self_out": 6, "resnet": 12, "mid": 1}.items():
        control = Control(kind)
        with installed(unet, control) as bridge, bridge.call(Now(T, T, (None, None), (8, 12))):
            watched = unet(x_t, T).sample
        torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)
        assert len(control.seen) == count


class Scaled(AttnProcessor2_0):
    """Attention of another kind."""


def test_attention_that_is_not_plain_is_refused():
    unet = make_unet()
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    attn.set_processor(Scaled())
    with pytest.raises(InputError, match="the cross layer 0 of this network attends by a Scaled"):
        installed(unet, Control("cross")).__enter__()
    with installed(unet, Control("self")):
        pass  # what is not wanted is no obstacle
    attn.set_processor(AttnProcessor2_0())
    attn.added_kv_proj_dim = 16
    with pytest.raises(InputError, match="has added key and value projections"):
        installed(unet, Control("cross")).__enter__()


def test_masked_attention_is_refused(prior: StableDiffusionPrior):
    x_t, text = inputs(prior)
    unet = make_unet()
    mask = torch.ones(2, text.tokens.shape[1])
    with (
        pytest.raises(InputError, match="this network masks its attention"),
        installed(unet, Control("cross")) as bridge,
        bridge.call(Now(T, T, (None, None), (8, 12))),
    ):
        unet(x_t, T, text.tokens, encoder_attention_mask=mask)


class _Parts:
    """A pipeline's components, with another network."""

    def __init__(self, prior: StableDiffusionPrior, unet: torch.nn.Module):
        self.unet, self.vae = unet, prior._vae
        self.text_encoder, self.tokenizer = prior._text_encoder, prior._tokenizer
        self.scheduler = DDIMScheduler()
