"""Files and GGUFs of transformers that stand in a folder with all the rest: FLUX.2, Qwen-Image, Z-Image and Sana."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils as convert
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble.core.errors import InputError
from scumble.priors._original import Originals
from scumble.priors.load import load_prior, needs, usual_method

from .families import MAKERS, save
from .test_original_names import close, original, quantise

NAMES = ("flux2", "klein", "klein4", "qwen", "zimage", "sana")
CONVERTERS: Mapping[str, Any] = {
    "flux2": convert.convert_flux2_transformer_checkpoint_to_diffusers,
    "zimage": convert.convert_z_image_transformer_checkpoint_to_diffusers,
    "sana": convert.convert_sana_transformer_to_diffusers,
}
# Of the original code, and no layers here.
DROPPED = {"sana": {"pos_embed": (1, 1, 16), "y_embedder.y_embedding": (1, 16)}}


@pytest.fixture(scope="module")
def pipes() -> Mapping[str, Any]:
    return {name: MAKERS[name]() for name in (*NAMES, "pixart", "flux")}


@pytest.fixture(scope="module")
def folders(pipes: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {name: save(pipe, root / name) for name, pipe in pipes.items()}


def of_original(name: str, network: Any) -> dict[str, Tensor]:
    """The network's weights under the original names: of Qwen-Image diffusers' own."""
    if name == "qwen":
        return {key: weight.clone() for key, weight in network.state_dict().items()}
    weights, names = original(network), Originals(network)
    for theirs, places in names.places.items():  # tables, which are no layers
        for table in ("scale_shift_table", "x_pad_token", "cap_pad_token"):
            if table in dict(names.modules[places[0]].named_parameters(recurse=False)):
                weights[f"{theirs}.{table}".removeprefix(".")] = network.state_dict()[
                    f"{places[0]}.{table}".removeprefix(".")
                ].clone()
    return weights | {key: torch.zeros(shape) for key, shape in DROPPED.get(name, {}).items()}


Place = Callable[..., Path]


@pytest.fixture
def place(pipes: Mapping[str, Any], folders: Mapping[str, Path], tmp_path: Path) -> Place:
    """place(name, prefix, file name, more tensors, metadata): the file in a folder with everything but its weights."""

    def one(
        name: str,
        prefix: str = "",
        called: str = "my file.safetensors",
        more: Mapping[str, tuple[int, ...]] | None = None,
        about: dict[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / name
        if not folder.is_dir():
            skipped = shutil.ignore_patterns("diffusion_pytorch_model.safetensors")
            shutil.copytree(folders[name], folder)
            shutil.rmtree(folder / "transformer")
            shutil.copytree(folders[name] / "transformer", folder / "transformer", ignore=skipped)
        weights = of_original(name, pipes[name].transformer)
        weights |= {key: torch.zeros(shape) for key, shape in (more or {}).items()}
        save_file(
            {prefix + key: w.contiguous() for key, w in weights.items()}, folder / called, metadata=about
        )
        return folder / called

    return one


def load(path: Path, **options: Any) -> Any:
    return load_prior(str(path), device="cpu", **options)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_file_computes_what_the_folder_computes(
    name: str, place: Place, folders: Mapping[str, Path]
) -> None:
    file = place(name, "model.diffusion_model." if name in ("klein", "qwen") else "")
    ours, expected = load(file), load(folders[name])
    weights = expected.parameters()
    assert ours.parameters().keys() == weights.keys()
    assert all(torch.equal(p, weights[key]) for key, p in ours.parameters().items())
    z, t = expected.encode(torch.zeros(1, 3, 32, 48)), expected.schedule.time(500, 1)
    text = expected.embed(["a Red, cat"])
    close(ours.embed(["a Red, cat"]).tokens, text.tokens)
    close(ours.predict(z, t, text).x0, expected.predict(z, t, text).x0)
    assert ours.schedule.on(24).grid(4) == expected.schedule.on(24).grid(4)
    card, wanted = ours.card, expected.card
    assert (card.guidance, card.method, card.steps, card.size) == (
        wanted.guidance,
        wanted.method,
        wanted.steps,
        wanted.size,
    )
    assert usual_method(str(file)) == card.method
    assert dict(needs(str(file))).keys() == {"weights", "pictures", "gradients", "with less", "main memory"}


@pytest.mark.parametrize("name", CONVERTERS)
def test_layers_are_renamed_as_diffusers_renames_them(name: str, pipes: Mapping[str, Any]) -> None:
    network = pipes[name].transformer
    weights = of_original(name, network)
    ours, expected = Originals(network).rename(weights), CONVERTERS[name](dict(weights))
    assert ours.keys() == expected.keys() == set(network.state_dict())
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.04), ("BF16", 0.02)])
def test_a_quantised_transformer(
    name: str, kind: str, error: float, place: Place, folders: Mapping[str, Path]
) -> None:
    ours, full = load(quantise(place(name), kind)), load(folders[name])
    channels = full.encode(torch.zeros(1, 3, 32, 48)).shape[1]
    z = torch.randn(1, channels, 16, 24, generator=torch.Generator().manual_seed(0))
    t, text = full.schedule.time(500, 1), full.embed(["a cat"])
    with torch.no_grad():
        found, expected = ours.predict(z, t, text).x0, full.predict(z, t, text).x0
    assert float((found - expected).norm() / expected.norm()) < error
    small = {w.dtype for w in ours.parameters("denoiser").values()}
    assert (torch.uint8 in small) == (kind != "BF16")


def test_a_base_file_in_the_folder_of_a_distilled_one(place: Place) -> None:
    assert load(place("klein4")).card.guidance == "none"
    assert load(place("klein4", called="flux-2-klein-base-4b.safetensors")).card.guidance == "free"


def test_configs_beside_a_file_are_part_of_its_hash(place: Place) -> None:
    file = place("zimage")
    before = load(file).card.hash
    config = file.parent / "scheduler/scheduler_config.json"
    config.write_text(config.read_text().replace("3.0", "6.0"))
    assert load(file).card.hash != before


def refused(path: Path, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["flux2", "klein", "qwen", "zimage", "sana"])
def test_a_file_alone_says_what_it_wants_beside_it(name: str, place: Place, tmp_path: Path) -> None:
    file = place(name).rename(tmp_path / "alone.safetensors")
    refused(
        file,
        "it holds no vae, text_encoder, transformer, scheduler, tokenizer, and the folder that it lies in has none of "
        "that name either; put the file into a folder of .* with these parts, .*; of transformer/ its config.json",
    )


def test_a_file_in_the_folder_of_another_family(place: Place) -> None:
    file, other = place("klein"), place("zimage").parent
    refused(
        file.rename(other / "klein.safetensors"),
        "it is a Flux2Transformer2DModel, and the folder that it lies in has a ZImageTransformer2DModel",
    )
    dev = place("flux2")
    refused(
        dev.rename(file.parent / "dev.safetensors"), "its text encoder is a qwen3 model, not a Mistral 3 one"
    )


@pytest.mark.parametrize(
    ("name", "called", "more", "why"),
    [
        ("qwen", "qwen-image-edit-2511.safetensors", {}, "by its name it is Qwen-Image-Edit"),
        ("qwen", "qwen_image_layered.safetensors", {}, "by its name it is Qwen-Image-Layered"),
        ("qwen", "a.safetensors", {"txt_in.text_norm.weight": (1,)}, "it is Qwen-Image 2.1"),
        ("sana", "a.safetensors", {"cfg_embedder.mlp.0.weight": (1,)}, "it is Sana-Sprint"),
        ("zimage", "a.safetensors", {"layers.0.attention.qkv.weight_scale": (1,)}, "scaled float8"),
        ("flux2", "a.safetensors", {"double_blocks.0.img_attn.qkv.comfy_quant": (1,)}, "only ComfyUI reads"),
    ],
)
def test_relatives_are_refused(
    name: str, called: str, more: dict[str, tuple[int, ...]], why: str, place: Place
) -> None:
    refused(place(name, called=called, more=more), why)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ("layers.0.adaLN_modulation.1.weight", "it is Lumina 2; that is not supported yet"),
        ("blocks.0.mlp.fc1.weight", "it is PixArt under its authors' names, .*; name the folder"),
        ("early_stream_modulations.image.lin.weight", "it is FLUX.3"),
    ],
)
def test_networks_that_are_not_read(tensor: str, why: str, tmp_path: Path) -> None:
    save_file({tensor: torch.zeros(2)}, tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", why)


@pytest.mark.parametrize("name", ["flux", "flux2", "zimage", "sana", "pixart"])
def test_the_transformer_of_a_folder_is_no_file_of_its_own(name: str, folders: Mapping[str, Path]) -> None:
    file = folders[name] / "transformer/diffusion_pytorch_model.safetensors"
    assert load_file(file)
    refused(file, "it is the transformer of a checkpoint folder; name the folder that has transformer/ in it")


def test_a_damaged_file(place: Place) -> None:
    file = place("klein")
    weights = load_file(file)
    del weights["img_in.weight"]
    save_file(weights, file)
    refused(file, "its transformer lacks 1 of its weights")
