"""What a gradient keeps, as estimated, beside what autograd saves: layers of published width, without numbers, on the
meta device, and tiny networks that run.
"""

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble.priors._families import FAMILIES, load_class
from scumble.priors._find import builtin
from scumble.priors._folder import Folder
from scumble.priors._kept import kept
from scumble.priors.load import load_prior

from .families import MAKERS, save

HALF = torch.bfloat16
SIDE = 1024


class Saved:
    """Counts the bytes that autograd saves in `call`, without those of the networks' weights."""

    def __init__(self, *networks: Any):
        self._own = {p.untyped_storage()._cdata for n in networks for p in (*n.parameters(), *n.buffers())}
        self._seen: dict[int, torch.Tensor] = {}

    def _pack(self, x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage()._cdata not in self._own:
            self._seen[x.untyped_storage()._cdata] = x
        return x

    def __call__(self, call: Callable[[], Any]) -> int:
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda x: x):
            call()
        return sum(x.untyped_storage().nbytes() for x in self._seen.values())


class Fused(torch.autograd.Function):
    """Attention that saves what fused kernels save; the meta device has none."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out)
        return out


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(query: Any, key: Any, value: Any, attn_mask: Any = None, **_: Any) -> Any:
        return Fused.apply(query, key, value)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)


def packaged(name: str, part: str) -> dict[str, Any]:
    file = resources.files("scumble.priors") / "configs" / name / part / "config.json"
    return json.loads(file.read_text(encoding="utf-8"))


def e(*shape: int, want: bool = False, dtype: torch.dtype = HALF) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta", requires_grad=want)


def call(family: str, network: Any, side: int) -> Any:
    """The network on what its family is asked with, on a canvas of `side` pixels (stride 8; Sana 32)."""
    cells, n = side // 8, (side // 16) ** 2
    t = e(1)
    if family in ("latent", "sdxl"):
        more = {"added_cond_kwargs": {"text_embeds": e(1, 1280), "time_ids": e(1, 6)}}
        text = e(1, 77, network.config.cross_attention_dim)
        return network(
            e(1, 4, cells, cells, want=True), t, text, **(more if family == "sdxl" else {}), return_dict=False
        )
    if family == "sd3":
        x, text, pooled = e(1, 16, cells, cells, want=True), e(1, 333, 4096), e(1, 2048)
        return network(x, timestep=t, encoder_hidden_states=text, pooled_projections=pooled)
    if family == "flux":
        x, text, pooled = e(1, n, 64, want=True), e(1, 512, 4096), e(1, 768)
        ids = {"txt_ids": e(512, 3), "img_ids": e(n, 3)}
        return network(
            x, timestep=t, guidance=t, encoder_hidden_states=text, pooled_projections=pooled, **ids
        )
    if family == "klein":
        x, ids = e(1, n, 128, want=True), {"txt_ids": e(1, 512, 4), "img_ids": e(1, n, 4)}
        return network(x, timestep=t, guidance=None, encoder_hidden_states=e(1, 512, 7680), **ids)
    if family == "qwen":
        shapes = [[(1, side // 16, side // 16)]]
        text = {"encoder_hidden_states": e(1, 512, 3584), "encoder_hidden_states_mask": None}
        return network(e(1, n, 64, want=True), timestep=t, **text, img_shapes=shapes)
    if family == "zimage":
        return network([e(16, 1, cells, cells, want=True)], t, [e(512, 2560)])
    if family == "pixart":
        more = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
        return network(
            e(1, 4, cells, cells, want=True), timestep=t, encoder_hidden_states=e(1, 120, 4096), **more
        )
    cells = side // 32
    return network(e(1, 32, cells, cells, want=True), timestep=t, encoder_hidden_states=e(1, 300, 2304))


KL = packaged("sdxl", "vae")
CODECS: Mapping[str, dict[str, Any]] = {  # of others than KL, as much as the stride needs
    "qwen": {"base_dim": 1, "dim_mult": [1] * 4, "temperal_downsample": [True] * 3},
    "sana": {"encoder_block_out_channels": [1] * 6, "decoder_block_out_channels": [1] * 6},
}
PUBLISHED: Mapping[str, tuple[str, dict[str, Any]]] = {
    "SD 1.5": ("latent", packaged("sd1", "unet")),
    "SD 2.1": ("latent", packaged("sd2", "unet")),
    "SDXL": ("sdxl", packaged("sdxl", "unet")),
    "SD3 medium": ("sd3", packaged("sd3", "transformer")),
    "SD3.5 medium": (
        "sd3",
        {
            **packaged("sd3", "transformer"),
            "qk_norm": "rms_norm",
            "dual_attention_layers": [*range(13)],
            "pos_embed_max_size": 384,
        },
    ),
    "FLUX.1 dev": ("flux", packaged("flux", "transformer")),
    "FLUX.2 klein 4B": (
        "klein",
        {
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
    ),
    "Qwen-Image, 4 layers": (
        "qwen",
        {"num_layers": 4, "num_attention_heads": 24, "attention_head_dim": 128},
    ),
    "Z-Image, 6 layers": ("zimage", {"n_layers": 6, "n_refiner_layers": 2, "dim": 3840}),
    "PixArt, 4 layers": (
        "pixart",
        {
            "num_layers": 4,
            "num_attention_heads": 16,
            "attention_head_dim": 72,
            "caption_channels": 4096,
            "cross_attention_dim": 1152,
            "sample_size": 128,
            "use_additional_conditions": False,
        },
    ),
    "Sana, 4 layers": (
        "sana",
        {
            "num_layers": 4,
            "num_attention_heads": 70,
            "attention_head_dim": 32,
            "num_cross_attention_heads": 20,
            "cross_attention_head_dim": 112,
            "cross_attention_dim": 2240,
            "caption_channels": 2304,
            "sample_size": 32,
        },
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.usefixtures("fused")
def test_networks_of_published_width(name: str) -> None:
    family, config = PUBLISHED[name]
    place = FAMILIES[family].parts[FAMILIES[family].network]
    with torch.device("meta"):
        network = load_class(place)(**{k: v for k, v in config.items() if not k.startswith("_")})
    network = network.to(HALF).eval().requires_grad_(False)
    counted = Saved(network)(lambda: call(family, network, SIDE)) / HALF.itemsize
    codec = CODECS.get(family, KL)
    found = kept(family, {FAMILIES[family].network: config, "vae": codec}, (SIDE, SIDE))["network"]
    assert 0.85 < found / counted < 1.15, found / counted


def test_the_codec_of_published_width() -> None:
    vae = load_class(FAMILIES["sdxl"].parts["vae"])
    with torch.device("meta"):
        codec = vae(**{k: v for k, v in KL.items() if not k.startswith("_")})
    codec = codec.to(HALF).eval().requires_grad_(False)
    counted = Saved(codec)(lambda: codec.decode(e(1, 4, SIDE // 8, SIDE // 8, want=True))) / HALF.itemsize
    found = kept("sdxl", {"unet": packaged("sdxl", "unet"), "vae": KL}, (SIDE, SIDE))["codec"]
    assert 0.9 < found / counted < 1.1


def ratios(model: str, folder: Folder, size: tuple[int, int]) -> dict[str, float]:
    """The estimate over what a prior really keeps, in float32."""
    prior = load_prior(model, device="cpu")
    with torch.no_grad():
        text, z = prior.embed(["a"], size=size), prior.encode(torch.zeros(1, 3, *size))
    x = z.clone().requires_grad_()
    parts: tuple[Any, ...] = (prior._network, prior._vae)
    counted = {
        "network": Saved(*parts)(lambda: prior.predict(x, prior.schedule.time(500, 1), text)),
        "codec": Saved(*parts)(lambda: prior.decode(x)),
    }
    found = kept(folder.family(), {part: folder.config(part) for part in folder.parts}, size)
    return {part: 4 * found[part] / counted[part] for part in counted}


@pytest.mark.parametrize("name", ["sdxl", "flux", "pixart", "klein", "sana"])
def test_tiny_networks_that_run(name: str, tmp_path: Path) -> None:
    folder = Folder.open(save(MAKERS[name](), tmp_path / name))
    found = ratios(str(folder.path), folder, (64, 96))
    assert all(0.7 < each < 1.6 for each in found.values()), found


@pytest.mark.weights
@pytest.mark.skipif(not builtin("scenes").is_dir(), reason="the weights are not in this checkout")
def test_the_built_in_model() -> None:
    found = ratios("scenes", Folder(builtin("scenes"), "scenes", "scenes"), (128, 128))
    assert all(0.85 < each < 1.15 for each in found.values()), found
