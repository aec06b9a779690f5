"""Tuning on one's own pictures: the papers' updates, transcribed; reversible, resumable, and readable elsewhere."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from scumble import artifacts
from scumble.artifacts.tuned import TunedWeights
from scumble.core.errors import InputError, MachineError
from scumble.core.request import EditRequest
from scumble.methods.imagic import Imagic
from scumble.methods.sampling import Sampling
from scumble.methods.unitune import UniTune
from scumble.priors.load import load_prior
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.testing import no_trace
from scumble.train import tune
from scumble.train.state import Stopped
from scumble.tuning.denoising import denoising, draws
from scumble.tuning.weights import changed
from tests.priors.conftest import pristine  # noqa: F401

SIZE = 16


@pytest.fixture
def prior(pristine: Path) -> StableDiffusionPrior:  # noqa: F811
    return cast(StableDiffusionPrior, load_prior(str(pristine), device="cpu"))


@pytest.fixture
def picture() -> Tensor:
    return torch.linspace(-1, 1, 3 * SIZE * SIZE, dtype=torch.float32).reshape(1, 3, SIZE, SIZE)


def asked(method: str, prompt: str, word: str = "", **values: object) -> tune.Asked:
    return tune.Asked(recipe=tune.values(method, values), prompt=prompt, word=word)


def tuned(prior: Any, pictures: list[Tensor], what: tune.Asked, out: Path, **more: Any) -> TunedWeights:
    with no_trace(prior):
        return tune.tune(prior, pictures, what, out, **more)


# The papers' updates, written again in plain torch ---------------------------------------------------------


def plain(prior: StableDiffusionPrior, x0: Tensor, tokens: Tensor, seed: int, k: int) -> Tensor:
    """mean |eps - unet(sqrt(abar) x0 + sqrt(1 - abar) eps, t, tokens)|^2 with the draws of step k; a loss per row."""
    rows = len(x0)
    generators = [
        torch.Generator().manual_seed((seed * 2654435761 + k * rows + i) % 2**32) for i in range(rows)
    ]
    t = torch.cat([torch.randint(0, 1000, (1,), generator=g) for g in generators])
    eps = torch.stack([torch.randn(x0.shape[1:], generator=g) for g in generators])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = (1 - betas).cumprod(0)[t].float().reshape(-1, 1, 1, 1)
    unet: Any = prior._network
    said = unet(abar.sqrt() * x0 + (1 - abar).sqrt() * eps, t, encoder_hidden_states=tokens).sample
    return (said - eps).square().mean((1, 2, 3))


def test_imagic_is_the_papers_two_optimisations(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    values = {"embedding_steps": 3, "embedding_rate": 0.01, "steps": 3, "rate": 1e-3}
    made = tuned(prior, [picture], asked("imagic", "a b", **values), tmp_path / "x.tuned")

    with torch.no_grad():
        x0, target = prior.encode(picture), prior.embed(["a b"], size=(SIZE, SIZE)).tokens
    e = target.clone().requires_grad_()
    adam = torch.optim.Adam([e], lr=0.01)
    for k in range(3):
        (e.grad,) = torch.autograd.grad(plain(prior, x0, e, 0, k).mean(), [e])
        adam.step()
    unet: Any = prior._network.requires_grad_(True)
    adam = torch.optim.Adam(unet.parameters(), lr=1e-3)
    for k in range(3):
        adam.zero_grad()
        plain(prior, x0, e.detach(), 1, k).mean().backward()
        adam.step()

    assert torch.equal(made.texts["target"], target)
    torch.testing.assert_close(made.texts["optimised"], e.detach(), atol=1e-5, rtol=0)
    for name, weight in unet.named_parameters():
        torch.testing.assert_close(made.values[f"denoiser.{name}"], weight.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("form", ["weights", "lora"])
def test_dreambooth_is_the_papers_update(
    form: str, prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    values = {"form": form, "steps": 2, "rate": 0.01, "rank": 2, "class_n": 2, "preservation": 0.5}
    others = [picture.flip(-1), 0.5 * picture]
    what = asked("dreambooth", "q b", "q", **values)
    made = tuned(prior, [picture, -picture], what, tmp_path / "x.tuned", others=others)

    with torch.no_grad():
        latents = [prior.encode(x) for x in (picture, -picture)]
        classes = [prior.encode(x) for x in others]
        tokens = torch.cat([prior.embed([words], size=(SIZE, SIZE)).tokens for words in ("q b", "b")])
    unet: Any = prior._network
    ends = ("to_q", "to_k", "to_v", "to_out.0")
    names = [name for name, _ in unet.named_parameters()]
    if form == "lora":
        names = [name for name in names if name.removesuffix(".weight").endswith(ends)]
    own = {name: unet.get_parameter(name).detach().clone() for name in names}
    moved = dict[str, Tensor]()
    if form == "lora":  # W + up down, the first down drawn with a standard deviation of 1 / r
        generator = torch.Generator().manual_seed(0)
        for module, _ in unet.named_modules():
            name = f"{module}.weight"
            if name in own:
                moved[f"{name}:down"] = torch.randn(2, own[name].shape[1], generator=generator) / 2
                moved[f"{name}:up"] = torch.zeros(own[name].shape[0], 2)
    else:
        moved = {name: weight.clone() for name, weight in own.items()}
    for x in moved.values():
        x.requires_grad_()
    adam = torch.optim.AdamW(moved.values(), lr=0.01, weight_decay=1e-2)
    for k in range(2):
        if form == "lora":
            weights = {name: own[name] + moved[f"{name}:up"] @ moved[f"{name}:down"] for name in names}
        else:
            weights = moved
        loss = _with(prior, weights, torch.cat([latents[k % 2], classes[k % 2]]), tokens, k)
        adam.zero_grad()
        (loss[0] + 0.5 * loss[1]).backward()
        torch.nn.utils.clip_grad_norm_(moved.values(), 1.0)
        adam.step()

    assert {*made.values} == {f"denoiser.{name}" for name in moved}
    for name, x in moved.items():
        torch.testing.assert_close(made.values[f"denoiser.{name}"], x.detach(), atol=2e-4, rtol=0)


def _with(
    prior: StableDiffusionPrior, weights: Mapping[str, Tensor], x0: Tensor, tokens: Tensor, k: int
) -> Tensor:
    """The losses with these weights, as a function of them."""
    unet = prior._network

    class Called:
        def __call__(self, *args: Any, **more: Any) -> Any:
            return torch.func.functional_call(unet, dict(weights), args, more)

    stand_in: Any = type("Prior", (), {"_network": Called()})
    return plain(stand_in, x0, tokens, 0, k)


def test_textual_inversion_moves_the_words_rows_alone(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    values = {"steps": 2, "rate": 0.01, "accumulate": 2, "init": "c"}
    out = tmp_path / "x.tuned"
    made = tuned(prior, [picture], asked("textual_inversion", "a q", "q", **values), out)

    (name,) = made.changes
    (id,), (begin,) = (prior.embed([word]).ids[0, 1:2].tolist() for word in ("q", "c"))  # pyright: ignore
    table = prior.parameters("text")[name]
    with torch.no_grad():
        x0 = prior.encode(picture)
    v = table[begin : begin + 1].detach().clone().requires_grad_()
    adam = torch.optim.AdamW([v], lr=0.01, weight_decay=0.0)
    for k in range(2):
        adam.zero_grad()
        for part in range(2):
            whole = table.detach().clone().index_copy(0, torch.tensor([id]), v)
            with changed(prior, {name: whole.detach()}, trained=True) as weights:
                loss = plain(
                    prior, x0, prior.embed(["a q"], size=(SIZE, SIZE)).tokens, 0, 2 * k + part
                ).mean()
                (rows,) = torch.autograd.grad(loss / 2, [weights[name]])
            v.grad = rows[id : id + 1] if v.grad is None else v.grad + rows[id : id + 1]
        adam.step()

    assert made.values[f"{name}:ids"].tolist() == [id]
    torch.testing.assert_close(made.values[name], v.detach(), atol=1e-5, rtol=0)
    assert torch.equal(load_file(tmp_path / "x.tuned.q.safetensors")["q"], made.values[name])


def test_unitune_is_the_papers_update(prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path) -> None:
    what = asked("unitune", "q", "q", steps=2, rate=1e-3, batch=2)
    made = tuned(prior, [picture], what, tmp_path / "x.tuned")
    with torch.no_grad():
        x0, tokens = prior.encode(picture), prior.embed(["q"], size=(SIZE, SIZE)).tokens
    unet: Any = prior._network.requires_grad_(True)
    adam = torch.optim.Adam(unet.parameters(), lr=1e-3)
    for k in range(2):
        adam.zero_grad()
        plain(prior, x0.repeat(2, 1, 1, 1), tokens.repeat(2, 1, 1), 0, k).mean().backward()
        adam.step()
    for name, weight in unet.named_parameters():
        torch.testing.assert_close(made.values[f"denoiser.{name}"], weight.detach(), atol=1e-4, rtol=0)


# What the methods make of it -------------------------------------------------------------------------------


def test_imagic_mixes_the_embeddings(prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path) -> None:
    made = tuned(
        prior,
        [picture],
        asked("imagic", "a b", embedding_steps=2, embedding_rate=0.1, steps=0),
        tmp_path / "x",
    )
    request = EditRequest(image=picture, given={"tuned": made})
    whole = Imagic(eta=1, steps=3, guidance=3)(prior, request)
    same = Sampling(steps=3, guidance=3)(prior, EditRequest(size=(SIZE, SIZE), target="a b"))
    torch.testing.assert_close(
        whole.raw, same.raw
    )  # eta = 1 and the model's own weights: the target's picture
    assert not torch.allclose(Imagic(eta=0, steps=3, guidance=3)(prior, request).raw, whole.raw)


def test_unitune_at_strength_0_is_the_codecs_picture(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    made = tuned(prior, [picture], asked("unitune", "q", "q", steps=1, batch=1), tmp_path / "x")
    request = EditRequest(image=picture, target="b", given={"tuned": made})
    with torch.no_grad():
        copied = prior.decode(prior.encode(picture))
    torch.testing.assert_close(UniTune(strength=0)(prior, request).raw, copied)
    torch.testing.assert_close(UniTune(blend=0)(prior, request).raw, picture)
    other = asked("imagic", "a b", embedding_steps=1, steps=0)
    with pytest.raises(InputError, match="bound to no word"):
        UniTune()(
            prior,
            EditRequest(
                image=picture, target="b", given={"tuned": tuned(prior, [picture], other, tmp_path / "y")}
            ),
        )


# Files, stops and refusals ---------------------------------------------------------------------------------


def test_a_lora_is_read_as_a_lora(
    prior: StableDiffusionPrior,
    picture: Tensor,
    pristine: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    what = asked("unitune", "q", "q", form="lora", steps=2, rate=0.1, rank=2, text_encoder=True, batch=1)
    made = tuned(prior, [picture], what, tmp_path / "x.tuned")
    file = tmp_path / "x.tuned.lora.safetensors"
    names = {name.partition(".")[0].split("_")[1] for name in load_file(file)}
    assert names == {"unet", "te"}
    other = load_prior(str(pristine), device="cpu", lora=(str(file),))
    weights = other.parameters()
    for name, value in made.weights(prior.parameters()).items():
        torch.testing.assert_close(weights[name], value, atol=1e-6, rtol=0)


def test_a_file_says_the_same_again(prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path) -> None:
    out = tmp_path / "x.tuned"
    made = tuned(prior, [picture], asked("imagic", "a b", embedding_steps=1, steps=1, form="lora"), out)
    again = artifacts.load(out)
    assert isinstance(again, TunedWeights)
    assert again.form == "lora"
    assert again.recipe == json.loads(json.dumps(made.recipe))
    assert all(torch.equal(x, again.tensors()[name]) for name, x in made.tensors().items())
    values = {name: x for name, x in made.values.items() if not name.endswith("to_q.weight:up")}
    with pytest.raises(InputError, match="is missing; the file is damaged"):
        TunedWeights(prior=made.prior, prior_hash=made.prior_hash, form="lora", values=values)


@pytest.mark.parametrize("form", ["weights", "lora"])
@pytest.mark.parametrize("after", [1, 3])
def test_a_stop_costs_nothing(
    form: str, after: int, prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    values = {"embedding_steps": 2, "steps": 3, "rate": 0.01, "form": form}
    whole = tuned(prior, [picture], asked("imagic", "a b", **values), tmp_path / "whole")
    out, seen = tmp_path / "parts", list[int]()
    more = {"on_step": lambda step, shown: seen.append(step.k), "stop": lambda: len(seen) == after}
    with no_trace(prior), pytest.raises(Stopped):
        tune.tune(prior, [picture], asked("imagic", "a b", **values), out, **more)
    assert not out.exists()
    with pytest.raises(InputError, match="another rate"):
        tuned(prior, [picture], asked("imagic", "a b", **{**values, "rate": 0.1}), out)
    made = tuned(prior, [picture], asked("imagic", "a b", **values), out)
    assert not out.with_name("parts.resume.pt").exists()
    assert all(torch.equal(x, made.tensors()[name]) for name, x in whole.tensors().items())


def test_what_cannot_be_tuned_is_refused(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    for values, words in (
        ({"rank": 0}, "rank: 0 must be at least 1"),
        ({"rnk": 1}, "has no parameter 'rnk'"),
        ({"form": "half"}, "form: 'half' must be one of"),
    ):
        with pytest.raises(InputError, match=words):
            tune.values("dreambooth", values)
    with pytest.raises(InputError, match="tunes no model"):
        tune.kind("dds")
    nothing = asked("unitune", "q", "q", form="lora", targets="to_x")
    with pytest.raises(InputError, match="to_x matches no layer"):
        tuned(prior, [picture], nothing, tmp_path / "x")
    with pytest.raises(InputError, match="in the name of no weight"):
        tuned(prior, [picture], asked("unitune", "q", "q", named="attn9"), tmp_path / "x")
    with pytest.raises(InputError, match="there are none; give some"):
        tuned(prior, [picture], asked("dreambooth", "q b", "q"), tmp_path / "x")
    few = asked("dreambooth", "q b", "q", class_n=3)
    with pytest.raises(InputError, match="1 there, and class_n=3 are asked for"):
        tune.check_class(few, [picture])
    for what, words in (
        (asked("dreambooth", "b", "q"), "does not contain the word"),
        (asked("dreambooth", "b"), "name a rare word"),
        (asked("imagic", "b", "q"), "leave it out"),
        (asked("imagic", ""), "prompt: empty"),
    ):
        with pytest.raises(InputError, match=words):
            tune.check(prior, what)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("prompt", "word", "left"),
    [
        ("a sks dog", "sks", "a dog"),
        ("a SKS  qux dog", "sks qux", "a dog"),
        ("a sks dog", "sks  dog", "a"),
        ("sks, a dog", "sks", "a dog"),
        ("a dog, sks", "sks", "a dog"),
        ("a dog, sks, outside", "sks", "a dog, outside"),
        ("a <my.dog> outside", "<my.dog>", "a outside"),
        ("a q, b", "q,", "a b"),
        ("asks a dog", "sks", "asks a dog"),
        ("a sks-dog", "sks", "a sks-dog"),
        ("a dog", "", "a dog"),
    ],
)
def test_the_class_is_the_prompt_without_the_word(prompt: str, word: str, left: str) -> None:
    assert tune.class_prompt(asked("dreambooth", prompt, word)) == left


def test_a_class_prompt_that_is_the_prompt_is_refused(prior: StableDiffusionPrior) -> None:
    what = asked("dreambooth", "aq b", "q")
    with pytest.raises(
        InputError, match="class prompt: 'aq b' is the prompt itself; say with --class-prompt"
    ):
        tune.check(prior, what)
    tune.check(prior, replace(what, class_prompt="b"))
    tune.check(prior, asked("dreambooth", "aq b", "q", preservation=0))


def test_unitune_without_a_prompt_trains_on_the_word(prior: StableDiffusionPrior) -> None:
    assert asked("unitune", "", " q ").prompt == "q"
    assert tune.check(prior, asked("unitune", "", "q")) == tune.check(prior, asked("unitune", "q", "q"))
    (line, *_) = tune.check(prior, asked("unitune", "a b", "q"))
    assert line.startswith("warning: prompt: 'a b' does not contain the word 'q', which is then not trained")


def test_a_training_that_diverges_leaves_no_file(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"rate: 1e\+30 is too high: the training of the weights diverged at step 2"
    ):
        tuned(prior, [picture], asked("unitune", "q", "q", rate=1e30, steps=9), tmp_path / "x")
    assert not [*tmp_path.glob("x*")]


def test_fp16_is_refused_on_a_cpu(prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path) -> None:
    what = replace(asked("unitune", "q", "q", steps=1), precision="fp16")
    with pytest.raises(InputError, match="precision: fp16 does nothing on a CPU; take bf16 or no"):
        tune.check(prior, what)
    with pytest.raises(InputError, match="precision: fp16"):
        tuned(prior, [picture], what, tmp_path / "x")


def test_pictures_of_the_class_can_be_stopped(prior: StableDiffusionPrior) -> None:
    asks, what = list[int](), asked("dreambooth", "q b", "q", class_n=5)

    def stop() -> bool:
        asks.append(0)
        return len(asks) == 3

    with pytest.raises(Stopped):
        tune.class_pictures(prior, what, (SIZE, SIZE), lambda k, of: None, stop)
    assert len(asks) == 3


def test_a_common_word_is_doubted_with_its_frequency(prior: StableDiffusionPrior) -> None:
    (line,) = tune.check(prior, asked("dreambooth", "a q b", "a"))  # a letter: a token of its own
    assert "its token is number" in line
    assert tune.check(prior, asked("dreambooth", "a qqq b", "qqq")) == []


def test_another_model_is_refused(prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path) -> None:
    made = tuned(prior, [picture], asked("imagic", "a b", embedding_steps=1, steps=0), tmp_path / "x")
    other = TunedWeights(prior="other", prior_hash="0" * 64, values=made.values, texts=made.texts)
    with pytest.raises(InputError, match="tuned from model 'other'"):
        Imagic()(prior, EditRequest(image=picture, given={"tuned": other}))


def test_the_next_cheaper_setting_is_named_where_memory_runs_out(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **more: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(prior._network, "forward", full)
    with (
        no_trace(prior),
        pytest.raises(
            MachineError, match="--set batch=2 .*; --set form=lora; --checkpointing; --precision bf16"
        ),
    ):
        tune.tune(prior, [picture], asked("unitune", "q", "q"), tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["weights", "lora"])
def test_checkpointing_computes_again_and_changes_nothing(
    form: str, prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    calls = list[int]()
    hook = prior._network.up_blocks[0].resnets[0].register_forward_pre_hook(lambda *_: calls.append(1))
    values = {"embedding_steps": 1, "steps": 2, "rate": 0.01, "form": form}
    what = asked("imagic", "a b", **values)
    plain, seen = tuned(prior, [picture], what, tmp_path / "plain"), len(calls)
    made = tuned(prior, [picture], replace(what, checkpointing=True), tmp_path / "again")
    hook.remove()
    assert len(calls) - seen == 2 * seen
    assert all(torch.equal(x, made.tensors()[name]) for name, x in plain.tensors().items())
    assert not prior._network.is_gradient_checkpointing


@pytest.mark.parametrize("form", ["weights", "lora"])
def test_mixed_precision_trains_float32_values(
    form: str, prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path
) -> None:
    what = asked("imagic", "a b", embedding_steps=1, steps=2, rate=0.01, form=form)
    plain = tuned(prior, [picture], what, tmp_path / "plain").tensors()
    made = tuned(prior, [picture], replace(what, precision="bf16"), tmp_path / "mixed").tensors()
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in made.values())
    assert any(not torch.equal(x, plain[name]) for name, x in made.items())
    far = max(float((x - plain[name]).abs().max()) for name, x in made.items())
    assert far <= 2 * 2 * 0.01 + 1e-5  # Adam moves a value by its rate at most, in each of two steps of both


def test_the_8_bit_optimiser_is_the_one_of_bitsandbytes(
    prior: StableDiffusionPrior, picture: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the class of that name in the module of that name, whatever it is; without the module, a clear error."""
    made, what = list[Any](), asked("unitune", "q", "q", steps=1, form="lora", optimizer="adamw8bit")

    class AdamW8bit(torch.optim.AdamW):
        def __init__(self, *given: Any, **more: Any):
            super().__init__(*given, **more)
            made.append(more)

    module = SimpleNamespace(optim=SimpleNamespace(AdamW8bit=AdamW8bit))
    monkeypatch.setitem(sys.modules, "bitsandbytes", cast(Any, module))
    tuned(prior, [picture], what, tmp_path / "x")
    assert made[0]["betas"] == (0.9, 0.999)
    monkeypatch.setitem(sys.modules, "bitsandbytes", cast(Any, None))
    with pytest.raises(InputError, match="adamw8bit needs bitsandbytes, which is not installed"):
        tuned(prior, [picture], what, tmp_path / "y")


def test_a_velocity_is_learned_as_one(prior: StableDiffusionPrior, picture: Tensor) -> None:
    """The loss of a model of velocities is |v - v_theta|^2 = |eps - eps_theta|^2 / alpha^2 for its own eps."""
    x0, text = prior.encode(picture), prior.embed(["a"])
    eps = denoising(prior, x0, text, draws(0, 0, 1))
    v = replace(prior.schedule, prediction="v")
    t = draws(0, 0, 1).times(0, 1000, 1)
    alpha = float(v.at(t)[0])
    assert float(denoising(prior, x0, text, draws(0, 0, 1), v)) == pytest.approx(
        float(eps) / alpha**2, rel=1e-3
    )
