"""The Stable Diffusion prior against the components it drives, and against diffusers' own pipeline."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.prior import Text
from scumble.loops.ddim import ddim
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.testing import check_prior

from .conftest import LIMIT, SCHEDULER, make_unet, write_scheduler

SIZE = (16, 24)  # H, W in pixels: latents of 8 x 12


def load(folder: Path, dtype: str = "float32") -> StableDiffusionPrior:
    return StableDiffusionPrior.from_pretrained(folder, device="cpu", dtype=dtype)


def image(rows: int = 1) -> Tensor:
    return torch.rand(rows, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def latent(rows: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(rows, 4, 8, 12, generator=torch.Generator().manual_seed(seed))


def pipeline(prior: StableDiffusionPrior, **scheduler: object) -> StableDiffusionPipeline:
    """diffusers' own, around the same components."""
    pipe = StableDiffusionPipeline(
        prior._vae, prior._text_encoder, prior._tokenizer, prior._unet,
        DDIMScheduler.from_config({**SCHEDULER, **scheduler}),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


# The codec


@torch.no_grad()
def test_encodes_to_the_scaled_posterior_mean(prior: StableDiffusionPrior):
    mean = prior._vae.encode(image(2)).latent_dist.mean
    z = prior.encode(image(2))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z, (mean - 0.1) * 0.2)


@torch.no_grad()
def test_samples_the_posterior_when_noise_is_given(prior: StableDiffusionPrior):
    posterior = prior._vae.encode(image(2)).latent_dist
    expected = posterior.mean + posterior.std * Noise(3, 2).like(posterior.mean)
    torch.testing.assert_close(prior.encode(image(2), Noise(3, 2)), (expected - 0.1) * 0.2)


@torch.no_grad()
def test_decode_undoes_the_scaling(prior: StableDiffusionPrior):
    z = prior._vae.encode(image()).latent_dist.mean
    torch.testing.assert_close(prior.decode(prior.encode(image())), prior._vae.decode(z).sample)


def test_a_picture_off_the_grid_is_refused(prior: StableDiffusionPrior):
    with pytest.raises(InputError, match="15 x 16 px; both sides must be multiples of 2"):
        prior.encode(torch.zeros(1, 3, 16, 15))


def inflate(folder: Path, layer: str) -> None:
    """Scales a convolution in front of a normalisation: float32 hardly notices, half precision overflows."""
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights[f"{layer}.weight"] = weights[f"{layer}.weight"] * 1e5
    assert weights[f"{layer}.weight"].abs().max() < torch.finfo(torch.float16).max
    save_file(weights, file, metadata={"format": "pt"})


@torch.no_grad()
def test_a_decoder_that_overflows_in_half_precision_runs_again_in_float32(folder: Path):
    inflate(folder, "decoder.conv_in")
    half, full = load(folder, "float16"), load(folder)
    z = latent(2)
    assert not half._vae.decode(z.half()).sample.isfinite().all(), "the fixture must overflow"
    with pytest.warns(UserWarning, match=r"decoding overflowed in torch.float16.*float32"):
        picture = half.decode(z)
    assert picture.dtype == torch.float32
    torch.testing.assert_close(picture, full.decode(z), rtol=0, atol=5e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(half.decode(z), picture)


@torch.no_grad()
def test_the_codec_in_float32_stays_beside_the_network(folder: Path):
    inflate(folder, "decoder.conv_in")
    prior = load_prior(str(folder), device="cpu", dtype="float16", memory=["text"])
    assert isinstance(prior, StableDiffusionPrior)
    with pytest.warns(UserWarning, match="from now on"):
        prior.decode(latent())
    assert [id(each) for each in prior._desk._together] == [id(prior._unet), id(prior._vae)]


@torch.no_grad()
def test_an_encoder_that_overflows_in_half_precision_runs_again_in_float32(folder: Path):
    inflate(folder, "encoder.conv_in")
    with pytest.warns(UserWarning, match="encoding overflowed"):
        z = load(folder, "float16").encode(image())
    torch.testing.assert_close(z, load(folder).encode(image()), rtol=0, atol=5e-3)


@torch.no_grad()
def test_half_precision_is_not_blamed_for_values_that_were_never_finite(pristine: Path):
    half = load(pristine, "float16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert half.decode(latent() * torch.nan).isnan().all()
    assert half._vae.dtype == torch.float16


# The network


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@torch.no_grad()
def test_reads_the_output_as_what_the_network_was_trained_for(folder: Path, kind: str):
    write_scheduler(folder, prediction_type=kind)
    prior = load(folder)
    x_t, t, text = latent(2), torch.tensor([20, 700]), prior.embed(["a cat", "a dog"])
    out = prior._unet(x_t, t, text.tokens).sample
    p = prior.predict(x_t, t, text)
    abar = DDIMScheduler.from_config(SCHEDULER).alphas_cumprod[t].reshape(-1, 1, 1, 1)
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    x0, eps = {
        "epsilon": ((x_t - sigma * out) / alpha, out),
        "v_prediction": (alpha * x_t - sigma * out, alpha * out + sigma * x_t),
        "sample": (out, (x_t - alpha * out) / sigma),
    }[kind]
    torch.testing.assert_close(p.x0, x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(p.eps, eps, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_level_may_differ_from_the_time_the_network_is_told(prior: StableDiffusionPrior):
    x_t, t, at, text = latent(), torch.tensor([500]), torch.tensor([100]), prior.embed(["a cat"])
    told, apart = prior.predict(x_t, t, text), prior.predict(x_t, t, text, at=at)
    torch.testing.assert_close(apart.eps, told.eps, rtol=0, atol=0)
    torch.testing.assert_close(apart.x0, prior.schedule.predict(x_t, at, eps=told.eps).x0)
    assert not torch.allclose(apart.x0, told.x0)


@torch.no_grad()
def test_rows_of_a_batch_do_not_see_each_other(prior: StableDiffusionPrior):
    x_t, t, text = latent(2), torch.tensor([900, 30]), prior.embed(["a cat", "a dog"])
    both = prior.predict(x_t, t, text)
    for i in range(2):
        alone = prior.predict(x_t[i : i + 1], t[i : i + 1], text.take([i]))
        torch.testing.assert_close(both.eps[i : i + 1], alone.eps, rtol=1e-5, atol=1e-5)


def test_everything_is_differentiable(prior: StableDiffusionPrior):
    x, text = image().requires_grad_(), prior.embed(["a cat"])
    tokens = text.tokens.detach().requires_grad_()
    p = prior.predict(prior.encode(x), torch.tensor([300]), Text(tokens=tokens, prompts=text.prompts))
    prior.decode(p.x0).square().sum().backward()
    for gradient in (x.grad, tokens.grad):
        assert gradient is not None
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@torch.no_grad()
def test_only_the_networks_run_in_low_precision(pristine: Path, prior: StableDiffusionPrior, dtype: str):
    low = load(pristine, dtype)
    z, text, t = low.encode(image()), low.embed(["a cat"]), torch.tensor([300])
    p = low.predict(z, t, text)
    assert low._unet.dtype == low._vae.dtype == low._text_encoder.dtype == getattr(torch, dtype)
    for value in (z, text.tokens, p.x0, p.eps, low.decode(z)):
        assert value.dtype == torch.float32
    full = prior.predict(prior.encode(image()), t, prior.embed(["a cat"]))
    torch.testing.assert_close(p.eps, full.eps, rtol=0, atol=0.05)


def test_parameters_are_named_by_part(prior: StableDiffusionPrior):
    every = prior.parameters()
    parts = [prior.parameters(part) for part in ("denoiser", "codec", "text")]
    assert sum(map(len, parts)) == len(every)
    assert all(every[name] is weight for part in parts for name, weight in part.items())
    assert not any(weight.requires_grad for weight in every.values())
    with pytest.raises(InputError, match="'head'; this model has denoiser"):
        prior.parameters("head")


# Text


@torch.no_grad()
def test_embeds_as_the_pipeline_does(prior: StableDiffusionPrior):
    prompts = ["a cat", "", "A  red, LONG and winding road!"]
    with pytest.warns(UserWarning, match="cut off"):
        ours = prior.embed(prompts)
    theirs, _ = pipeline(prior).encode_prompt(prompts, torch.device("cpu"), 1, False)
    assert ours.tokens.shape == (3, LIMIT, 16)
    torch.testing.assert_close(ours.tokens, theirs, rtol=0, atol=1e-6)


def test_a_warning_quotes_the_words_cut_off(prior: StableDiffusionPrior):
    # 14 letters fit beside start and end; the limit falls inside "cottage".
    with pytest.warns(UserWarning, match=r"16 tokens; cut off: 'cottage by the sea'"):
        text = prior.embed(["a red brick cottage by the sea"])
    assert text.prompts == ("a red brick cottage by the sea",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prior.embed(["fourteen chars"])
    with pytest.warns(UserWarning, match=r"cut off: 'b{300}' and 69700 letters more$"):
        prior.embed(["a " + "b" * 70_000])


def test_a_word_is_found_among_the_tokens(prior: StableDiffusionPrior):
    text = prior.embed(["a red cat", "a cat"])
    assert text.spans("cat") == [[5, 6, 7], [2, 3, 4]]
    ids = text.ids
    assert ids is not None
    assert prior._tokenizer.decode(ids[0, 5:8]).strip() == "cat"


def test_a_condition_it_does_not_know_is_refused(prior: StableDiffusionPrior):
    with pytest.raises(InputError, match="'depth'"):
        prior.embed(["a cat"], depth=torch.zeros(1))


# Whole runs


@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"prediction_type": "v_prediction"},
        {"set_alpha_to_one": True, "beta_schedule": "linear"},
        {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 500},
    ],
    ids=lambda changes: ",".join(map(str, changes.values())) or "plain",
)
@torch.no_grad()
def test_a_ddim_loop_paints_the_pipelines_picture(folder: Path, scheduler: dict[str, object]):
    write_scheduler(folder, **scheduler)
    prior = load(folder)
    x_T = latent()
    theirs = pipeline(prior, **scheduler)(
        "a cat",
        height=16,
        width=24,
        latents=x_T,
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="latent",
    ).images
    denoise = guide(prior, prior.embed(["a cat"]), prior.embed([""]), 3.0)
    ours = ddim(denoise, x_T, prior.schedule.grid(5), prior.schedule)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_pipelines_components_are_shared_not_copied(prior: StableDiffusionPrior):
    pipe = pipeline(prior)
    shared = StableDiffusionPrior.from_pipeline(pipe)
    assert shared._unet is pipe.unet
    x_t, t, text = latent(), torch.tensor([400]), prior.embed(["a cat"])
    torch.testing.assert_close(shared.predict(x_t, t, text).eps, prior.predict(x_t, t, text).eps)
    assert (shared.card.size, shared.card.multiple) == (16, 4)


def test_pipelines_of_other_kinds_are_refused(prior: StableDiffusionPrior):
    with pytest.raises(InputError, match="DDPMPipeline: it has no vae"):
        StableDiffusionPrior.from_pipeline(DDPMPipeline(make_unet(), DDIMScheduler()))
    pipe = pipeline(prior)
    pipe.register_modules(unet=make_unet(in_channels=9))
    with pytest.raises(InputError, match="9 channels .an inpainting model"):
        StableDiffusionPrior.from_pipeline(pipe)


# Cards and hashes


def test_the_card_says_what_the_configs_say(prior: StableDiffusionPrior):
    card = prior.card
    assert (card.id, card.size, card.multiple, card.words) == ("tiny", 16, 4, None)
    assert card.licence == "see the checkpoint"
    assert len(card.hash) == 64


def test_a_card_file_is_believed(folder: Path):
    (folder / "card.json").write_text(
        json.dumps({"id": "mine", "domain": "cats.", "words": ["cat"], "size": 32, "multiple": 32,
                    "recommended": {"dds": {"guidance": 3.0}}})
    )  # fmt: skip
    card = load(folder).card
    assert (card.id, card.domain, card.words, card.size) == ("mine", "cats.", frozenset({"cat"}), 32)
    assert card.recommended["dds"]["guidance"] == 3.0
    (folder / "card.json").write_text('{"colour": "red"}')
    with pytest.raises(InputError, match=r"card.json.*colour"):
        _ = load(folder).card


def test_the_hash_is_of_the_contents(folder: Path, prior: StableDiffusionPrior):
    assert load(folder).card.hash == prior.card.hash
    seen = {prior.card.hash}
    file = folder / "text_encoder/model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, file, metadata={"format": "pt"})
    seen.add(load(folder).card.hash)
    write_scheduler(folder, prediction_type="v_prediction")
    seen.add(load(folder).card.hash)
    assert len(seen) == 3
    (folder / "README.md").write_text("what it computes stays the same")
    assert load(folder).card.hash in seen


def test_a_pipelines_hash_is_of_its_weights(folder: Path, prior: StableDiffusionPrior):
    before = StableDiffusionPrior.from_pipeline(pipeline(prior)).card.hash
    assert StableDiffusionPrior.from_pipeline(pipeline(load(folder))).card.hash == before
    changed = load(folder)
    changed._unet.conv_out.bias[0] += 1
    assert StableDiffusionPrior.from_pipeline(pipeline(changed)).card.hash != before


def test_it_keeps_the_promises_of_every_prior(prior: StableDiffusionPrior):
    check_prior(prior, prompts=("a cat", "a dog"), dtype=torch.float32, atol=1e-4)


def test_words_are_found_in_any_script_and_as_phrases(prior: StableDiffusionPrior):
    text = prior.embed(["a  b c.", "黒い猫"])  # letters are tokens; a kana or a Han letter is three bytes
    assert text.spans("b c") == [[2, 3], []]
    assert text.spans("C") == [[3], []]
    assert text.spans("猫")[0] == []
    assert len(text.spans("猫")[1]) > 0
    assert [word for word, _ in text.words(0)] == ["a", "b", "c."]
    assert [tokens for _, tokens in text.words(0)] == [[1], [2], [3, 4]]


def test_words_that_are_not_there_are_refused(prior: StableDiffusionPrior):
    with pytest.raises(InputError, match="'z' is in none of the prompts"):
        prior.embed(["a b"]).spans("z")
    with pytest.raises(InputError, match="' ' is in none of the prompts"):
        prior.embed(["a b"]).spans(" ")
    with pytest.warns(UserWarning, match="cut off"):
        text = prior.embed(["a " * 14 + "z"])
    with pytest.raises(InputError, match="'z' is beyond what this model reads"):
        text.spans("z")
    with pytest.raises(InputError, match="does not say which tokens spell a word"):
        Text(tokens=torch.zeros(1, 1, 3), prompts=("a",)).spans("a")
