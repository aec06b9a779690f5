"""Checkpoints of SDXL, SD3 and FLUX.1: what is recognised, refused by name, and said."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scumble.core.errors import InputError
from scumble.core.request import EditRequest
from scumble.core.text import Negative
from scumble.methods.blended_latent_diffusion import BlendedLatentDiffusion
from scumble.priors._families import RELATIVES
from scumble.priors._folder import Folder
from scumble.priors.load import load_prior, usual_method
from scumble.tuning.weights import changed, copied
from tests.priors.families import MAKERS, flux, pixart, save, sd3, sdxl

Change = Callable[..., None]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family. Shared: copy it to change it."""
    root = tmp_path_factory.mktemp("families")
    return {name: save(make(), root / name) for name, make in MAKERS.items()}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


def refused(folder: Path, why: str, **options: Any) -> None:
    with pytest.raises(InputError, match=why):
        load_prior(str(folder), device="cpu", **options)


@pytest.mark.parametrize(
    ("name", "family", "guidance", "method", "size", "dtype", "steps"),
    [
        ("sdxl", "sdxl", "free", "dds", 32, "float16", None),
        ("sd3", "sd3", "free", "flowedit", 64, "float16", None),
        ("flux", "flux", "embedded", "flowedit", 256, "bfloat16", None),
        ("schnell", "flux", "none", "flowedit", 256, "bfloat16", 4),
        ("pixart", "pixart", "free", "dds", 32, "float16", None),
        ("zimage", "zimage", "free", "flowedit", 256, "bfloat16", None),
        ("qwen", "qwen", "free", "flowedit", 256, "bfloat16", None),
        ("flux2", "flux2", "embedded", "flowedit", 256, "bfloat16", None),
        ("klein", "klein", "free", "flowedit", 256, "bfloat16", None),
        ("klein4", "klein", "none", "flowedit", 256, "bfloat16", 4),
        ("sana", "sana", "free", "flowedit", 16, "bfloat16", None),
    ],
)
def test_a_family_is_recognised(
    folders: dict[str, Path],
    name: str,
    family: str,
    guidance: str,
    method: str,
    size: int,
    dtype: str,
    steps: int | None,
) -> None:
    folder = Folder.open(folders[name])
    folder.check()
    assert folder.family() == family
    card = load_prior(str(folders[name]), device="cpu").card
    assert (card.guidance, card.method, card.size) == (guidance, method, size)
    assert (card.dtype, card.steps) == (dtype, steps)
    assert usual_method(str(folders[name])) == (method if method != "dds" else None)


@pytest.mark.parametrize("pipeline", [*RELATIVES, "StableDiffusionXLInpaintPipeline", "FluxInpaintPipeline"])
def test_relatives_are_refused_by_name(copy: Callable[[str], Path], edit_json: Change, pipeline: str) -> None:
    folder = copy("sdxl")
    edit_json(folder / "model_index.json", _class_name=pipeline)
    refused(folder, re.escape(f"it is {RELATIVES[pipeline]}") if pipeline in RELATIVES else pipeline)


def test_kandinsky_3_is_refused_by_its_pipeline_and_by_its_network(tmp_path: Path) -> None:
    for part, said in (("unet", "Kandinsky3UNet"), ("movq", "VQModel")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps({"_class_name": said}))
    refused(tmp_path, "its network is a Kandinsky3UNet; that is not supported yet")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "Kandinsky3Pipeline"}))
    refused(
        tmp_path,
        "it is Kandinsky 3, whose text encoder .FLAN-UL2. and codec .MoVQ. no other family has; that is",
    )


def test_the_refiner_is_refused(copy: Callable[[str], Path], edit_json: Change) -> None:
    folder = copy("sdxl")
    edit_json(folder / "unet/config.json", projection_class_embeddings_input_dim=5 * 8 + 32)
    refused(folder, "it is the SDXL refiner")
    shutil.rmtree(folder / "text_encoder")
    refused(folder, "it is the SDXL refiner")


def test_playground_is_refused(copy: Callable[[str], Path], edit_json: Change) -> None:
    folder = copy("sdxl")
    edit_json(folder / "scheduler/scheduler_config.json", _class_name="EDMDPMSolverMultistepScheduler")
    refused(folder, "it is preconditioned for EDM.*Playground")
    edit_json(folder / "vae/config.json", latents_mean=[0.0] * 4)
    refused(folder, "Playground 2.5")


@pytest.mark.parametrize(("channels", "kind"), [(128, "Control"), (384, "Fill")])
def test_changed_fluxes_are_refused(
    copy: Callable[[str], Path], edit_json: Change, channels: int, kind: str
) -> None:
    folder = copy("flux")
    edit_json(folder / "transformer/config.json", in_channels=channels)
    refused(folder, f"it is a {kind} .*{channels} channels, not 64")


def test_other_transformers_are_refused(copy: Callable[[str], Path], edit_json: Change) -> None:
    folder = copy("flux")
    edit_json(folder / "transformer/config.json", _class_name="HunyuanDiT2DModel")
    refused(folder, "its network is a HunyuanDiT2DModel")


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("qwen", {"zero_cond_t": True}, "it is a Qwen-Image-Edit"),
        ("qwen", {"use_layer3d_rope": True}, "it is a Qwen-Image-Layered"),
        ("qwen", {"in_channels": 128}, "its network takes 128 channels, not the 64 of a patch"),
        ("sana", {"guidance_embeds": True}, "it is Sana-Sprint"),
        ("klein", {"in_channels": 64}, "its network takes 64 channels, not the 32 of a patch"),
    ],
)
def test_near_relatives_are_told_by_their_networks(
    folders: dict[str, Path], edit_json: Change, tmp_path: Path, name: str, changes: dict[str, Any], why: str
) -> None:
    for part in ("model_index.json", "transformer", "vae", "text_encoder"):  # configs alone decide
        for file in [folders[name] / part, *(folders[name] / part).glob("config.json")]:
            if file.is_file():
                (tmp_path / file.relative_to(folders[name])).parent.mkdir(exist_ok=True)
                shutil.copy(file, tmp_path / file.relative_to(folders[name]))
    edit_json(tmp_path / "transformer/config.json", **changes)
    refused(tmp_path, why)


def test_sana_reads_negatives_without_its_instruction(folders: dict[str, Path]) -> None:
    prior = load_prior(str(folders["sana"]), device="cpu")
    text = prior.embed([" A Cat", Negative("A Cat"), ""])
    assert text.mask is not None
    assert text.tokens.shape[1] == 300
    lengths = text.mask.sum(1).tolist()
    assert lengths[0] > lengths[1] > lengths[2] == 1  # the token of the beginning
    (first, second), prompts = text.spans("cat")[:2], text.prompts
    assert [prompts[0][text.offsets[0][i][0]] for i in first] == list("Cat")
    assert not torch.equal(text.tokens[0, first[0]], text.tokens[1, second[0]])


def test_a_third_text_encoder_may_be_absent(copy: Callable[[str], Path]) -> None:
    folder = copy("sd3")
    for name in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / name)
    with pytest.warns(UserWarning, match="it has no text_encoder_3"):
        prior = load_prior(str(folder), device="cpu")
    text = prior.embed(["a cat"])
    assert text.tokens.shape == (1, 77 + 256, 32)
    assert not bool(text.tokens[:, 77:].any())
    pipe = sd3()
    pipe.text_encoder_3 = None
    tokens, _, _, _ = pipe.encode_prompt("a cat", None, None)
    torch.testing.assert_close(text.tokens, tokens)


def test_a_tokenizer_without_vocabulary_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("flux")
    (folder / "tokenizer_2/tokenizer.json").unlink()
    refused(folder, "tokenizer_2/ has no vocabulary")


def test_a_download_that_stopped_between_two_shards(copy: Callable[[str], Path]) -> None:
    folder = copy("flux") / "transformer"
    (folder / "diffusion_pytorch_model.safetensors").rename(
        folder / "diffusion_pytorch_model-00001-of-00002.safetensors"
    )
    refused(folder.parent, "transformer/diffusion_pytorch_model-00002-of-00002.safetensors is missing")


def test_a_download_that_stopped_inside_a_shard(copy: Callable[[str], Path]) -> None:
    file = copy("flux") / "transformer/diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    for content, why in (
        (whole[:-1000], "ends after .* of .* bytes: its download stopped"),
        (whole[:100], "has no readable header: its download stopped"),
        (b"", "has no readable header"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
    ):
        file.write_bytes(content)
        refused(file.parent.parent, f"transformer/diffusion_pytorch_model.safetensors {why}")


def test_a_turbo_model_is_told_of_its_guidance(copy: Callable[[str], Path]) -> None:
    folder = copy("sdxl").rename(copy("schnell").parent / "sdxl-turbo")
    with pytest.warns(
        UserWarning, match="it looks distilled for few steps .'turbo' in its name.*guidance 1 to 2"
    ):
        card = load_prior(str(folder), device="cpu").card
    assert card.steps == 4
    assert card.recommended["sampling"] == {"steps": 4, "guidance": 1.0}


def test_z_image_turbo_edits_on_its_own_grid(copy: Callable[[str], Path]) -> None:
    folder = copy("zimage").rename(copy("schnell").parent / "Z-Image-Turbo")
    with pytest.warns(UserWarning, match="it looks distilled for few steps .'Turbo' in its name"):
        card = load_prior(str(folder), device="cpu").card
    assert card.steps == 8
    assert card.recommended["flowedit"]["guidance"] == card.recommended["flowedit"]["source_guidance"] == 1.0


def test_a_card_names_the_precision_of_auto(copy: Callable[[str], Path]) -> None:
    from scumble.priors._card import auto_dtype

    folder = copy("sdxl")
    assert auto_dtype(Folder.open(folder)) == "float16"
    (folder / "card.json").write_text(json.dumps({"dtype": "bfloat16"}))
    assert auto_dtype(Folder.open(folder)) == load_prior(str(folder), device="cpu").card.dtype == "bfloat16"
    (folder / "card.json").write_text(json.dumps({"dtype": "half"}))
    refused(folder, "card.json: dtype 'half'; write float16, bfloat16 or float32")


@torch.no_grad()
def test_a_codec_of_sdxl_that_overflows_is_repeated_in_float32(
    copy: Callable[[str], Path], edit_json: Change
) -> None:
    folder = copy("sdxl")
    edit_json(folder / "vae/config.json", force_upcast=False)
    weights = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    for name in ("decoder.conv_in.weight", "decoder.conv_in.bias"):
        weights[name] = weights[name] * 1e5
    save_file(weights, folder / "vae/diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    half, full = (load_prior(str(folder), device="cpu", dtype=dtype) for dtype in ("float16", "float32"))
    z = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"decoding overflowed in torch.float16: it was repeated in float32"):
        picture = half.decode(z)
    torch.testing.assert_close(picture, full.decode(z), rtol=0, atol=5e-3)


@torch.no_grad()
def test_a_codec_that_overflows_while_its_weights_are_changed_has_its_own_afterwards(
    copy: Callable[[str], Path], edit_json: Change
) -> None:
    folder = copy("sdxl")
    edit_json(folder / "vae/config.json", force_upcast=False)
    half = load_prior(str(folder), device="cpu", dtype="float16")
    z = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    before = half.decode(z)
    values = copied(half, "codec")
    for name in ("codec.decoder.conv_in.weight", "codec.decoder.conv_in.bias"):
        values[name] = (values[name].float() * 1e5).clamp(-6e4, 6e4).half()
    with changed(half, values), pytest.warns(UserWarning, match=r"it was repeated in float32$"):
        half.decode(z)
    torch.testing.assert_close(half.decode(z), before, rtol=0, atol=0)


def test_a_decoder_of_half_precision_is_not_fitted(copy: Callable[[str], Path], edit_json: Change) -> None:
    folder = copy("sdxl")
    edit_json(folder / "vae/config.json", force_upcast=False)
    half = load_prior(str(folder), device="cpu", dtype="float16")
    request = EditRequest(image=torch.zeros(1, 3, 64, 64), target="a", mask=torch.ones(1, 1, 64, 64))
    with pytest.raises(InputError, match="too coarse for the small steps of a training; load it in float32"):
        BlendedLatentDiffusion(fit="decoder")(half, request, lambda step: pytest.fail("it began"))


def test_flux_does_not_run_in_float16(folders: dict[str, Path]) -> None:
    refused(folders["flux"], "it runs in bfloat16 or float32, not in float16", dtype="float16")


def test_t5_in_float16_is_refused() -> None:
    from scumble.priors.flux import FluxPrior
    from scumble.priors.sd3 import SD3Prior

    pipe = sd3()
    assert SD3Prior.from_pipeline(pipe).card.method == "flowedit"
    pipe.text_encoder_3.half()
    with pytest.raises(InputError, match="its T5 cannot run in float16"):
        SD3Prior.from_pipeline(pipe)
    with pytest.raises(InputError, match="pipeline StableDiffusion3Pipeline"):
        FluxPrior.from_pipeline(pipe)
    FluxPrior.from_pipeline(flux())


def test_a_codec_that_says_it_overflows_runs_in_float32(
    copy: Callable[[str], Path], edit_json: Change
) -> None:
    folder = copy("sdxl")
    edit_json(folder / "vae/config.json", force_upcast=True)
    half = load_prior(str(folder), device="cpu", dtype="float16")
    assert half.parameters("codec")["codec.encoder.conv_in.weight"].dtype == torch.float32
    assert half.parameters("denoiser")["denoiser.conv_in.weight"].dtype == torch.float16
    edit_json(folder / "vae/config.json", force_upcast=False)
    fixed = load_prior(str(folder), device="cpu", dtype="float16")
    assert fixed.parameters("codec")["codec.encoder.conv_in.weight"].dtype == torch.float16


def test_addons_that_a_family_cannot_take(folders: dict[str, Path], tmp_path: Path) -> None:
    save_file({"encoder.conv_in.weight": torch.zeros(1)}, tmp_path / "vae.safetensors")
    refused(folders["flux"], "FLUX.1 takes no clip_skip: its CLIP gives one pooled vector", clip_skip=1)
    refused(folders["zimage"], "Z-Image takes no clip_skip: its text encoder is no CLIP", clip_skip=1)
    refused(
        folders["sana"], "takes no other codec than its AutoencoderDC", vae=str(tmp_path / "vae.safetensors")
    )
    refused(folders["sdxl"], "clip_skip 2 of 3 layers of its text encoders leaves none", clip_skip=2)
    single, pair = tmp_path / "single.safetensors", tmp_path / "pair.safetensors"
    save_file({"emb_params": torch.zeros(2, 32)}, single)
    save_file({"clip_l": torch.zeros(2, 32), "clip_g": torch.zeros(1, 32)}, pair)
    refused(folders["sd3"], "reads no embedding: T5 reads its prompts, too", embedding=[str(single)])
    refused(folders["qwen"], "reads no embedding: its text encoder is no CLIP", embedding=[str(single)])
    refused(folders["sdxl"], "made for one text encoder, and the model has two", embedding=[str(single)])
    refused(folders["sdxl"], "other numbers of vectors", embedding=[str(pair)])


@torch.no_grad()
def test_clip_skip_is_the_pipelines(folders: dict[str, Path]) -> None:
    text = load_prior(str(folders["sdxl"]), device="cpu", clip_skip=1).embed(["a cat"])
    tokens, _, pooled, _ = sdxl().encode_prompt("a cat", clip_skip=1)
    torch.testing.assert_close(text.tokens, tokens)
    torch.testing.assert_close(text.pooled, pooled)
    text = load_prior(str(folders["sd3"]), device="cpu", clip_skip=1).embed(["a cat"])
    tokens, _, pooled, _ = sd3().encode_prompt("a cat", None, None, clip_skip=1)
    torch.testing.assert_close(text.tokens, tokens)
    torch.testing.assert_close(text.pooled, pooled)


@torch.no_grad()
@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_an_embedding_of_sdxl_is_read_by_both_clips(
    folders: dict[str, Path], tmp_path: Path, names: tuple[str, str]
) -> None:
    noise = torch.Generator().manual_seed(0)
    vectors = {name: torch.randn(2, 32, generator=noise) for name in names}
    save_file(vectors, tmp_path / "inkstyle.safetensors")
    text = load_prior(
        str(folders["sdxl"]), device="cpu", embedding=[str(tmp_path / "inkstyle.safetensors")]
    ).embed(["a inkstyle cat"])
    pipe = sdxl()
    for i, name in enumerate(names):
        encoder, tokenizer = (
            getattr(pipe, part + ("_2" if i else "")) for part in ("text_encoder", "tokenizer")
        )
        pipe.load_textual_inversion(
            {"emb_params": vectors[name]}, token="inkstyle", text_encoder=encoder, tokenizer=tokenizer
        )
    tokens, _, pooled, _ = pipe.encode_prompt("a inkstyle cat")
    torch.testing.assert_close(text.tokens, tokens)
    torch.testing.assert_close(text.pooled, pooled)
    assert len(text.spans("inkstyle")[0]) == 2


def test_what_an_encoder_cuts_off_is_quoted(folders: dict[str, Path]) -> None:
    long = "a" * 80 + " end"
    with pytest.warns(UserWarning, match="longer than this model's 77 tokens; cut off"):
        load_prior(str(folders["sdxl"]), device="cpu").embed([long])
    with pytest.warns(UserWarning, match="longer than its CLIP's 77 tokens; cut off"):
        load_prior(str(folders["flux"]), device="cpu").embed([long])
    for name, tokens in (("flux", 512), ("sd3", 256), ("pixart", 120)):
        words = "a " * tokens + "end"
        with pytest.warns(UserWarning, match=f"longer than .* {tokens} tokens; cut off: '.+'"):
            load_prior(str(folders[name]), device="cpu").embed([words])


def test_what_a_model_without_guidance_says(folders: dict[str, Path]) -> None:
    from scumble.core.request import EditRequest
    from scumble.methods.flowedit import FlowEdit

    schnell = load_prior(str(folders["schnell"]), device="cpu")
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match="was trained to run without it: set guidance to 1"):
        FlowEdit(steps=2, guidance=5.0)(schnell, EditRequest(image=image, source="a", target="b"))
    dev = load_prior(str(folders["flux"]), device="cpu")
    request = EditRequest(image=image, source="a", target="b", negative="ugly")
    with pytest.raises(InputError, match="negative: 'ugly'; model .* reads the target prompt alone"):
        FlowEdit(steps=2, guidance=5.0)(dev, request)


def test_a_canvas_beyond_the_last_place(copy: Callable[[str], Path]) -> None:
    folder = save(sd3(pos_embed_max_size=8, sample_size=8), copy("sd3").parent / "small")
    prior = load_prior(str(folder), device="cpu")
    z = prior.encode(torch.zeros(1, 3, 32, 48))
    with pytest.raises(InputError, match="knows places up to 32 px"):
        prior.predict(z, prior.schedule.time(500, 1), prior.embed(["a"]))


def test_the_canvas_is_told_to_sdxl() -> None:
    from scumble.priors.sdxl import SDXLPrior

    pipe = sdxl()
    prior = SDXLPrior.from_pipeline(pipe)
    assert prior.embed(["a"], size=(24, 40)).extra["time_ids"].tolist() == [[24, 40, 0, 0, 24, 40]]
    assert prior.embed(["a"]).extra["time_ids"].tolist() == [[32, 32, 0, 0, 32, 32]]
    assert not bool(prior.embed([""]).tokens.any())
    pipe.register_to_config(force_zeros_for_empty_prompt=False)
    assert bool(SDXLPrior.from_pipeline(pipe).embed([""]).tokens.any())


def test_pixart_is_told_the_canvas_and_reads_as_much_as_its_kind(
    copy: Callable[[str], Path], edit_json: Change
) -> None:
    folder = save(pixart(sample_size=128, use_additional_conditions=True), copy("flux").parent / "alpha")
    edit_json(folder / "scheduler/scheduler_config.json", prediction_type="epsilon")
    prior = load_prior(str(folder), device="cpu")
    text, t = prior.embed(["A Cat, Ärger"]), torch.tensor([500])
    assert text.tokens.shape[1] == 120
    assert torch.equal(text.tokens, prior.embed(["a cat, ärger"]).tokens)
    assert text.spans("Cat")[0]
    # A transposed latent has another aspect ratio, which the network is told.
    z = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = prior.predict(z, t, text).eps
        expected = prior._network(  # pyright: ignore[reportAttributeAccessIssue]
            z, encoder_hidden_states=text.tokens, encoder_attention_mask=text.mask, timestep=t,
            added_cond_kwargs={"resolution": torch.tensor([[32.0, 48.0]]), "aspect_ratio": torch.tensor([[2 / 3]])},
        ).sample[:, :4]  # fmt: skip
    torch.testing.assert_close(told, expected)
    edit_json(folder / "model_index.json", _class_name="PixArtSigmaPipeline")
    assert load_prior(str(folder), device="cpu").embed(["a"]).tokens.shape[1] == 300


def test_prompts_of_z_image_keep_their_places_in_the_template(folders: dict[str, Path]) -> None:
    prior = load_prior(str(folders["zimage"]), device="cpu")
    text = prior.embed(["user cat", "a"])
    assert text.mask is not None
    (spans, _), (row, _) = text.spans("user"), text.words(0)
    assert text.offsets[0][spans[0]] == (0, 1)
    assert row == ("user", spans)
    with pytest.warns(UserWarning, match="longer than this model's 512 tokens; cut off: '.*end'"):
        long = prior.embed(["a " * 300 + "end"])
    assert long.tokens.shape[1] == 512
    refused(folders["zimage"], "it runs in bfloat16 or float32, not in float16", dtype="float16")


def test_a_text_encoder_of_another_kind(copy: Callable[[str], Path], edit_json: Change) -> None:
    folder = copy("zimage")
    edit_json(folder / "text_encoder/config.json", model_type="gemma2")
    refused(folder, "its text encoder is a gemma2 model, not a Qwen3 one")


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_the_doctor_examines_every_family(
    copy: Callable[[str], Path], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scumble import cli

    folder = copy(name)
    (folder / "card.json").write_text(json.dumps({"size": 32}))
    cli.run(["doctor", "--model", str(folder), "-o", str(tmp_path / "sheet.png"), "--device", "cpu"])
    said = capsys.readouterr().out
    assert (tmp_path / "sheet.png").is_file()
    assert "PASS  codec round trip" in said or "FAIL  codec round trip" in said  # of random weights either
    assert "PASS  identity edit" in said
    assert "Error:" not in said, said
