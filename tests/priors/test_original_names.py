"""Files of SDXL, SD3 and FLUX.1 under the original code's names, and quantised transformers."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.loaders import single_file_utils as convert
from diffusers.models.normalization import AdaLayerNormContinuous
from safetensors.torch import save_file
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.priors import _single_file
from scumble.priors._original import Originals
from scumble.priors._single_file import CONFIGS, SingleFile
from scumble.priors.load import load_prior, usual_method

from . import ldm
from .families import MAKERS, save

Tensors = dict[str, Tensor]
FILES = ("sdxl", "sd3", "flux", "schnell")
TEXTS = {
    "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
    "flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
}


def original(network: nn.Module) -> Tensors:
    """The network's weights under the original names."""
    names, state = Originals(network), network.state_dict()
    weights: Tensors = {}
    for theirs, places in names.places.items():
        for kind in ("weight", "bias", "pos_embed"):
            rows = [state[f"{place}.{kind}"] for place in places if f"{place}.{kind}" in state]
            if not rows:
                continue
            above = names.modules.get(places[0].rpartition(".")[0])
            if isinstance(above, AdaLayerNormContinuous):
                rows = [rows[0].roll(len(rows[0]) // 2, 0)]
            scale = "_norm" in theirs.rpartition(".")[2] and kind == "weight" and "block" in theirs
            name = f"{theirs}.{'scale' if scale else kind}".removeprefix(".")
            weights[name] = torch.cat(rows).contiguous()
    return weights


def wrapped(text: nn.Module) -> Tensors:
    """As transformers' older CLIPs were named."""
    state = dict(text.state_dict())
    if any(name.startswith(("shared", "text_model")) for name in state):
        return state
    return {f"text_model.{name}": weight for name, weight in state.items()}


def tensors(family: str, pipe: Any, parts: tuple[str, ...]) -> Tensors:
    """A file with these parts of a pipeline."""
    said: Tensors = {}
    if family == "sdxl":
        said |= {f"model.diffusion_model.{n}": t for n, t in xl_network(pipe.unet).items()}
        clips = {"conditioner.embedders.0.transformer.": wrapped(pipe.text_encoder)}
        plain = {name.removeprefix("text_model."): t for name, t in pipe.text_encoder_2.state_dict().items()}
        projection = plain.pop("text_projection.weight")
        clips["conditioner.embedders.1."] = ldm.open_clip(plain) | {"model.text_projection": projection.T}
        said |= {prefix + n: t for prefix, clip in clips.items() for n, t in clip.items()}
    else:
        said |= {f"model.diffusion_model.{n}": t for n, t in original(pipe.transformer).items()}
        for part, name in TEXTS[family].items():
            if part in parts:
                state = wrapped(getattr(pipe, part))
                said |= {f"text_encoders.{name}.transformer.{n}": t for n, t in state.items()}
    if "vae" in parts:
        said |= {f"first_stage_model.{n}": t for n, t in ldm.codec(dict(pipe.vae.state_dict())).items()}
    return {name: t.clone().contiguous() for name, t in said.items() if "embed_tokens" not in name}


def xl_network(unet: nn.Module) -> Tensors:
    told = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    state = ldm.network(dict(unet.state_dict()), 1)
    for ours, theirs in told.items():
        state = {name.replace(ours, theirs): t for name, t in state.items()}
    return state


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def pipes() -> Mapping[str, Any]:
    made = {name: MAKERS[name]() for name in FILES}
    # Stable Diffusion 3 reads the first CLIP's pooled row as it is, and its files do not hold the identity.
    with torch.no_grad():
        made["sd3"].text_encoder.text_projection.weight.copy_(torch.eye(16))
    return made


@pytest.fixture(scope="module")
def folders(pipes: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {name: save(pipe, root / name) for name, pipe in pipes.items()}


@pytest.fixture
def write(
    pipes: Mapping[str, Any],
    folders: Mapping[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Write:
    """write(name, parts in the file, parts beside it, more tensors, metadata): the file, tiny configs packaged."""
    monkeypatch.setattr(_single_file, "CONFIGS", tmp_path / "configs")

    def one(
        name: str,
        within: tuple[str, ...] = ("vae", "text_encoder", "text_encoder_2", "text_encoder_3"),
        beside: tuple[str, ...] = (),
        more: Tensors | None = None,
        about: dict[str, str] | None = None,
        drop: str = "nothing at all",
    ) -> Path:
        family = "flux" if name == "schnell" else name
        configs, place = tmp_path / "configs" / family, tmp_path / "place"
        if not configs.is_dir():
            shutil.copytree(folders[name], configs, ignore=shutil.ignore_patterns("*.safetensors"))
        tokenizers = [p.name for p in folders[name].glob("tokenizer*")]
        for part in (*beside, *tokenizers):
            shutil.copytree(folders[name] / part, place / part, dirs_exist_ok=True)
        kept = tensors(family, pipes[name], within) | (more or {})
        kept = {name: t for name, t in kept.items() if drop not in name}
        save_file(kept, place / "my file.safetensors", metadata=about)
        return place / "my file.safetensors"

    return one


def load(path: Path, **options: Any) -> Any:
    return load_prior(str(path), device="cpu", **options)


@torch.no_grad()
def same(ours: Prior, expected: Prior) -> None:
    """The networks' weights bit for bit; codec, text and prediction up to rounding.

    Without AVX-512 a matrix product adds in another order where its operands lie elsewhere in memory: equal weights
    then give results that differ in the last digits.
    """
    weights = expected.parameters()
    assert ours.parameters().keys() == weights.keys()
    assert all(torch.equal(p, weights[name]) for name, p in ours.parameters().items())
    image = Noise(0).like(torch.empty(1, 3, 32, 48)).clamp(-1, 1)
    z = expected.encode(image)
    close(ours.encode(image), z)
    close(ours.decode(z), expected.decode(z))
    text, theirs = ours.embed(["a Red, cat"]), expected.embed(["a Red, cat"])
    close(text.tokens, theirs.tokens)
    assert text.pooled is not None
    assert theirs.pooled is not None
    close(text.pooled, theirs.pooled)
    t = expected.schedule.time(500, 1)
    close(ours.predict(z, t, text).x0, expected.predict(z, t, theirs).x0)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    off, size = float((ours - expected).abs().max()), float(expected.abs().max())
    assert off <= 1e-5 * size, f"off by {off:.1e} of {size:.1e}"


@pytest.mark.parametrize("name", FILES)
def test_a_file_computes_what_the_folder_computes(
    name: str, write: Write, folders: Mapping[str, Path]
) -> None:
    more = {} if name != "sdxl" else {"v_pred": torch.zeros(0)}
    ours, expected = load(write(name, more=more)), load(folders[name])
    if name == "sdxl":
        assert ours.schedule.prediction == "v"
        ours = load(write(name, about={"modelspec.prediction_type": "epsilon"}))
    same(ours, expected)
    assert ours.schedule.on(24).grid(4) == expected.schedule.on(24).grid(4)
    assert (ours.card.guidance, ours.card.method) == (expected.card.guidance, expected.card.method)
    assert usual_method(str(write(name))) == expected.card.method or name == "sdxl"
    assert not any(p.requires_grad or p.is_meta for p in ours.parameters().values())


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_what_a_file_lacks_is_read_beside_it(name: str, write: Write, folders: Mapping[str, Path]) -> None:
    parts = tuple(part for part in ("vae", *TEXTS[name]))
    file = write(name, within=(), beside=parts)
    prior = load(file)
    same(prior, load(folders[name]))
    weights = file.parent / "vae/diffusion_pytorch_model.safetensors"
    before = prior.card.hash
    assert before != load(write(name, within=("vae",), beside=parts)).card.hash
    weights.unlink()
    with pytest.raises(InputError, match="vae/diffusion_pytorch_model.safetensors is missing"):
        load(write(name, within=()))


def test_parts_that_are_nowhere_are_named(write: Write) -> None:
    with pytest.raises(
        InputError, match=r"it holds no vae, text_encoder, text_encoder_2, and the folder"
    ) as caught:
        load(write("flux", within=()))
    assert "FLUX.1" in str(caught.value)
    file = write("flux")
    shutil.rmtree(file.parent / "tokenizer_2")
    with pytest.raises(InputError, match="it holds no tokenizer_2"):
        load(file)


def test_t5_may_be_absent_from_a_file_of_sd3(write: Write) -> None:
    with pytest.warns(UserWarning, match="it has no text_encoder_3"):
        prior = load(write("sd3", within=("vae", "text_encoder", "text_encoder_2")))
    assert not bool(prior.embed(["a cat"]).tokens[:, 77:].any())


def test_t5_keeps_in_float32_what_overflows(write: Write) -> None:
    texts = load(write("sd3"), dtype="float16").parameters("text")
    assert not any("embed_tokens" in name for name in texts)  # the table of words is there once
    wide = {name for name, weight in texts.items() if weight.dtype == torch.float32}
    assert wide
    assert all(name.endswith(".wo.weight") for name in wide)


@pytest.mark.parametrize(
    ("name", "more", "about", "why"),
    [
        ("flux", {"distilled_guidance_layer.in_proj.bias": 1}, {}, "it is Chroma"),
        ("flux", {"double_blocks.0.scale_weight": 1}, {}, "scaled float8"),
        ("flux", {}, {"modelspec.title": "FLUX.1-Kontext-dev"}, "FLUX Kontext"),
        ("flux", {"model.diffusion_model.img_in.weight": (32, 384)}, {}, "it is a Fill .inpainting. FLUX"),
        ("sdxl", {"conditioner.embedders.0.model.ln_final.weight": 1}, {}, "the SDXL refiner"),
        ("sdxl", {"edm_mean": 1}, {}, "Playground 2.5"),
        ("sdxl", {"model.diffusion_model.input_blocks.0.0.weight": (16, 9, 3, 3)}, {}, "an inpainting model"),
        ("sdxl", {"model.diffusion_model.label_emb.0.0.weight": (64, 72)}, {}, "the SDXL refiner"),
    ],
)
def test_relatives_are_refused(
    name: str, more: dict[str, Any], about: dict[str, str], why: str, write: Write
) -> None:
    with pytest.raises(InputError, match=why):
        load(write(name, more={key: torch.zeros(shape) for key, shape in more.items()}, about=about))


def test_a_file_without_a_layer(write: Write) -> None:
    with pytest.raises(InputError, match="its network lacks layers .*context_embedder"):
        load(write("sd3", drop="context_embedder"))
    with pytest.raises(InputError, match="its transformer lacks 1 of its weights"):
        load(write("sd3", drop="x_embedder.proj.bias"))


# The names themselves

REAL = {
    "sd3": (SD3Transformer2DModel, convert.convert_sd3_transformer_checkpoint_to_diffusers),
    "flux": (FluxTransformer2DModel, convert.convert_flux_transformer_checkpoint_to_diffusers),
}


@pytest.mark.parametrize("name", REAL)
def test_layers_are_renamed_as_diffusers_renames_them(name: str) -> None:
    """At the published widths, which diffusers' converters know by heart, with one column to each row."""
    cls, converter = REAL[name]
    config = json.loads((CONFIGS / name / "transformer/config.json").read_text())
    config |= {"num_layers": 2, "num_single_layers": 1} if name == "flux" else {
        "num_layers": 2, "qk_norm": "rms_norm", "dual_attention_layers": [0],
    }  # fmt: skip
    with init_empty_weights():
        network = cls.from_config(config)
    names, checkpoint = Originals(network), dict[str, Tensor]()
    for number, (theirs, places) in enumerate(names.places.items()):
        for kind in ("weight", "bias", "pos_embed"):
            there = [names.modules[place] for place in places]
            if getattr(there[0], kind, None) is None:
                continue
            rows = sum(len(getattr(each, kind)) for each in there)
            scale = name == "flux" and theirs.endswith(("query_norm", "key_norm"))
            key = f"{theirs}.{'scale' if scale else kind}".removeprefix(".")
            checkpoint[key] = torch.arange(rows)[:, None] + 1e6 * number
    ours = names.rename(checkpoint)
    if name == "sd3":  # it reads the width off the bias
        checkpoint["context_embedder.bias"] = torch.zeros(config["caption_projection_dim"])
        ours["context_embedder.bias"] = checkpoint["context_embedder.bias"]
    expected = converter(dict(checkpoint))
    assert ours.keys() == expected.keys() == set(network.state_dict())
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("name", "part", "millions"),
    [
        ("sdxl", "unet", 2567), ("sdxl", "text_encoder", 123), ("sdxl", "text_encoder_2", 695),
        ("sd3", "transformer", 2028), ("sd3", "text_encoder_3", 4762), ("flux", "transformer", 11901),
        ("flux", "vae", 84),
    ],
)  # fmt: skip
def test_the_packaged_configs_have_the_published_sizes(name: str, part: str, millions: int) -> None:
    from scumble.priors._families import load_class

    file = SingleFile(CONFIGS / name, name, name, kind="sd1")
    cls = load_class(_single_file.FAMILIES[name].parts[part])
    config = dict(file.json(CONFIGS / name / part / "config.json"))
    with init_empty_weights():
        module = cls(cls.config_class(**config)) if "text" in part else cls.from_config(config)
    if "text" in part:
        module.tie_weights()
    assert round(sum(p.numel() for p in module.parameters()) / 1e6) == millions


# Quantised

gguf = pytest.importorskip("gguf")


def quantise(file: Path, kind: str = "Q8_0") -> Path:
    """The transformer of a file as GGUF: matrices of whole blocks quantised, all else in float32."""
    from safetensors import safe_open

    path = file.with_name("my file.gguf")
    writer = gguf.GGUFWriter(path, "any")
    to = gguf.GGMLQuantizationType[kind]
    with safe_open(file, "pt") as stored:
        for name in stored.keys():  # noqa: SIM118
            data = stored.get_tensor(name).float().numpy()
            whole = data.ndim == 2 and data.shape[1] % 32 == 0
            data = gguf.quants.quantize(data, to) if whole else data
            writer.add_tensor(
                name.removeprefix("model.diffusion_model."), data, raw_dtype=to if whole else None
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["sd3", "flux"])
@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.02), ("Q4_0", 0.3), ("BF16", 0.01)])
def test_a_quantised_transformer(
    name: str, kind: str, error: float, write: Write, folders: Mapping[str, Path]
) -> None:
    path = quantise(write(name, within=(), beside=("vae", *TEXTS[name])), kind)
    ours, full = load(path), load(folders[name])
    z = torch.randn(1, 16, 16, 24, generator=torch.Generator().manual_seed(0))
    t, text = full.schedule.time(500, 1), full.embed(["a cat"])
    with torch.no_grad():
        found, expected = ours.predict(z, t, text).x0, full.predict(z, t, text).x0
    assert float((found - expected).norm() / expected.norm()) < error
    small = {w.dtype for w in ours.parameters("denoiser").values()}
    assert (torch.uint8 in small) == (kind != "BF16")
    assert "gradient" in ours.card.capabilities


def test_the_gradient_through_quantised_layers(write: Write, folders: Mapping[str, Path]) -> None:
    path = quantise(write("sd3", within=(), beside=("vae", *TEXTS["sd3"])))
    gradients = []
    for prior in (load(path), load(folders["sd3"])):
        z = torch.randn(1, 16, 16, 24, generator=torch.Generator().manual_seed(0)).requires_grad_()
        prior.predict(z, prior.schedule.time(500, 1), prior.embed(["a cat"])).x0.square().sum().backward()
        assert z.grad is not None
        gradients.append(z.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999
    with pytest.raises(InputError, match="the weights of .* are quantised"), load(path).tuning():
        pass
    layer = "joint_blocks.0.x_block.attn.proj.lora_"
    ups = {layer + "down.weight": torch.ones(2, 32), layer + "up.weight": torch.ones(32, 2)}
    save_file(ups, path.with_name("lora.safetensors"))
    with pytest.raises(InputError, match="the model's weights are quantised, and a LoRA"):
        load(path, lora=[str(path.with_name("lora.safetensors"))])


def test_other_gguf_files(tmp_path: Path, write: Write) -> None:
    def made(name: str) -> Path:
        writer = gguf.GGUFWriter(tmp_path / "other.gguf", "any")
        writer.add_tensor(name, torch.zeros(2, 32).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / "other.gguf"

    with pytest.raises(InputError, match="it is a text encoder in GGUF"):
        load(made("enc.blk.0.attn_q.weight"))
    with pytest.raises(InputError, match="it is a language model in GGUF"):
        load(made("blk.0.attn_q.weight"))
    with pytest.raises(InputError, match="it is a U-Net in GGUF"):
        load(made("input_blocks.0.0.weight"))
    with pytest.raises(InputError, match="it is Lumina 2"):
        load(made("layers.0.adaLN_modulation.1.weight"))
    (tmp_path / "other.gguf").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a readable gguf file"):
        load(tmp_path / "other.gguf")
