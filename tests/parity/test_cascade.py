"""IF's cascade beside diffusers' own pipelines: same weights, same draws, same pictures."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

from scumble.core import prior as prior_module
from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import thresholded
from scumble.core.schedule import Schedule
from scumble.editing.cascade import Stage, draw
from scumble.priors.deepfloyd import IFPrior
from tests.priors.families import t5, t5_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # the pipelines' own deprecations

BARE: dict[str, Any] = {
    "safety_checker": None, "feature_extractor": None, "watermarker": None, "requires_safety_checker": False,
}  # fmt: skip
PROMPT, NEGATIVE = "A red circle on a table", "ugly"


def unet(**more: Any) -> UNet2DConditionModel:
    """IF's classes and settings in miniature: cross-attention that looks at text and picture, text projected first,
    scale and shift by time, variance in the output.
    """
    config: dict[str, Any] = {
        "sample_size": 16, "in_channels": 3, "out_channels": 6, "layers_per_block": 1, "norm_num_groups": 4,
        "block_out_channels": (8, 16), "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), "attention_head_dim": 4,
        "cross_attention_dim": 32, "encoder_hid_dim": 32, "encoder_hid_dim_type": "text_proj", "act_fn": "gelu",
        "addition_embed_type": "text", "addition_embed_type_num_heads": 2, "cross_attention_norm": "group_norm",
        "resnet_time_scale_shift": "scale_shift", "only_cross_attention": False,
        "resnet_out_scale_factor": 1.414,
    }  # fmt: skip
    torch.manual_seed(0)
    return UNet2DConditionModel(**config | more).eval()


def scheduler() -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True,
        dynamic_thresholding_ratio=0.95, sample_max_value=1.5, prediction_type="epsilon",
    )  # fmt: skip


def first_stage(folder: Path) -> IFPipeline:
    """A first stage in miniature, saved to a folder."""
    torch.manual_seed(0)
    pipe = IFPipeline(
        tokenizer=t5_tokenizer(), text_encoder=t5().eval(), unet=unet(), scheduler=scheduler(), **BARE
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, IFPrior]:
    folder = tmp_path_factory.mktemp("if") / "first"
    pipe = first_stage(folder)
    return pipe, IFPrior.from_pretrained(folder)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, IFPrior]:
    folder = tmp_path_factory.mktemp("if") / "second"
    torch.manual_seed(1)
    pipe = IFSuperResolutionPipeline(
        tokenizer=t5_tokenizer(), text_encoder=t5().eval(), scheduler=scheduler(), **BARE,
        unet=unet(in_channels=6, class_embed_type="timestep", sample_size=32),
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe, IFPrior.from_pretrained(folder)


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert float(theirs.std()) > 0.1
    assert float((ours - theirs.clamp(-1, 1)).abs().max()) < 2e-4


@pytest.mark.parametrize("size", [(16, 16), (16, 24)])
@pytest.mark.parametrize("guidance", [1.0, 7.0])
def test_stage_one_is_the_pipelines(
    first: tuple[Any, IFPrior], guidance: float, size: tuple[int, int]
) -> None:
    pipe, prior = first
    theirs = pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=5, guidance_scale=guidance, output_type="pt",
        height=size[0], width=size[1], generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip
    ours = draw(
        [Stage(prior=prior, steps=5, guidance=guidance)], PROMPT, negative=NEGATIVE, seed=3, size=size
    )
    near(ours, theirs)


@pytest.mark.parametrize("level", [0, 250])
def test_a_later_stage_is_the_pipelines(second: tuple[Any, IFPrior], level: int) -> None:
    pipe, prior = second
    given = torch.randn(1, 3, 8, 12, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    theirs = pipe(
        PROMPT, image=given, height=32, width=48, num_inference_steps=5, guidance_scale=4.0, noise_level=level,
        output_type="pt", generator=torch.Generator().manual_seed(3),
    ).images  # fmt: skip
    stage = Stage(prior=prior, steps=5, guidance=4.0, level=level)
    near(draw([stage], PROMPT, seed=3, picture=given), theirs)


def test_the_cascade_is_its_stages_one_after_the_other(
    first: tuple[Any, IFPrior], second: tuple[Any, IFPrior]
) -> None:
    one, two = Stage(prior=first[1], steps=2), Stage(prior=second[1], steps=2, guidance=4.0)
    told: list[tuple[int, int]] = []
    whole = draw([one, two], PROMPT, seed=3, on_step=lambda *at: told.append(at))
    small = draw([one], PROMPT, seed=3)
    assert whole.shape == (1, 3, 64, 64)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(whole, draw([two], PROMPT, seed=4, picture=small))


def test_the_level_and_the_given_picture_are_heard(second: tuple[Any, IFPrior]) -> None:
    prior, given = second[1], torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8)
    x, t = torch.zeros(1, 3, 16, 16), torch.tensor([500])

    def eps(picture: torch.Tensor, level: int, told: int) -> torch.Tensor:
        seen = prior.condition(picture, (16, 16), level, Noise(0))
        text = prior.embed([PROMPT], **{**seen, "level": torch.tensor([told])})
        with torch.no_grad():
            return prior.predict(x, t, text).eps

    plain = eps(given, 100, 100)
    for other in (eps(-given, 100, 100), eps(given, 200, 100), eps(given, 100, 200)):
        assert not torch.equal(plain, other)


def test_a_prompt_alone_is_one_row(first: tuple[Any, IFPrior]) -> None:
    text = first[1].embed(PROMPT)
    assert text.prompts == (PROMPT,)
    assert torch.equal(text.tokens, first[1].embed([PROMPT]).tokens)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.95, 0.995, 1.0])
def test_a_quantile_of_more_numbers_than_torch_takes(ratio: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 1234, generator=torch.Generator().manual_seed(0)).abs()
    expected = x.quantile(ratio, dim=1)
    monkeypatch.setattr(prior_module, "MOST", x.numel() - 1)
    monkeypatch.setattr(torch.Tensor, "quantile", lambda *_, **__: pytest.fail("too large"))
    torch.testing.assert_close(prior_module.quantile(x, ratio), expected)


def test_what_is_no_stage_is_refused(
    first: tuple[Any, IFPrior], second: tuple[Any, IFPrior], tmp_path: Path
) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(InputError, match="its pipeline is FluxPipeline; an IF stage is IFPipeline or"):
        IFPrior.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="draws from text alone; leave it out"):
        first[1].condition(torch.zeros(1, 3, 8, 8), (16, 16), 0, Noise(0))
    with pytest.raises(InputError, match="level: 1000; choose 0 to 999"):
        second[1].condition(torch.zeros(1, 3, 8, 8), (16, 16), 1000, Noise(0))
    with pytest.raises(InputError, match="embed: given, level; a later stage wants given and level"):
        second[1].embed([PROMPT])
    with pytest.raises(InputError, match="number 1 is a later stage; a first one comes first"):
        draw([Stage(prior=second[1])], PROMPT)
    with pytest.raises(InputError, match="steps: 0; choose 1 to 1000"):
        Stage(prior=first[1], steps=0)


def test_dynamic_thresholding_is_the_papers() -> None:
    """s: the percentile of |x0|, from 1 to `most`; x0 is clamped to it and divided by it (Imagen, section 2.3)."""
    schedule = Schedule.cosine()
    x0 = (
        torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.1, 1.0])[:, None, None, None]
    )
    t = torch.tensor([500, 500])

    def denoise(x_t: torch.Tensor, t: torch.Tensor, at: Any = None) -> Any:
        return schedule.predict(x_t, t, x0=x0)

    x_t = torch.zeros_like(x0)
    bound = float(x0[1].abs().quantile(0.95))
    for most, s in ((1.5, min(bound, 1.5)), (9.0, bound)):
        found = thresholded(denoise, schedule, ratio=0.95, most=most)(x_t, t)
        assert torch.equal(found.x0[0], x0[0])
        torch.testing.assert_close(found.x0[1], x0[1].clamp(-s, s) / s)
        torch.testing.assert_close(schedule.mix(found.x0, found.eps, t), x_t, atol=1e-6, rtol=0)
