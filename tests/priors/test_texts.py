"""`--memory text`: text encoders leave memory when the network is asked, and come back for other prompts."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scumble.core.errors import InputError
from scumble.core.prior import LowRank
from scumble.core.request import EditRequest
from scumble.methods.flowedit import FlowEdit
from scumble.priors._estimate import at_once, kept
from scumble.priors._memory import Desk
from scumble.priors.load import load_prior, needs

from .families import MAKERS, save

pytestmark = pytest.mark.slow  # whole families, loaded again and again

NAMES = ("sdxl", "sd3", "flux", "klein", "sana")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("texts")
    return {name: save(MAKERS[name](), root / name) for name in NAMES}


def load(folder: Path, *memory: str, **options: Any) -> Any:
    return load_prior(str(folder), device="cpu", memory=memory, **options)


def encoders(prior: Any) -> list[weakref.ref[Any]]:
    """Their weights, not to be kept."""
    modules = [prior._texts[part] for part in prior._texts]
    return [weakref.ref(weight) for module in modules for weight in module.parameters()]


def asked(prior: Any, prompt: str = "a cat") -> torch.Tensor:
    z = prior.encode(torch.zeros(1, 3, 32, 48))
    with torch.no_grad():
        return prior.predict(z, prior.schedule.time(500, 1), prior.embed([prompt])).x0


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_without_the_encoders(name: str, folders: Mapping[str, Path]) -> None:
    plain, saving = load(folders[name]), load(folders[name], "text")
    there, kept_there = encoders(saving), encoders(plain)
    assert there
    assert torch.equal(asked(saving), asked(plain))
    assert all(each() is None for each in there), "their weights are gone"
    assert all(each() is not None for each in kept_there)
    assert torch.equal(saving.embed(["a dog"]).tokens, plain.embed(["a dog"]).tokens), "they come back"
    assert torch.equal(asked(saving, "a dog"), asked(plain, "a dog"))


def test_an_edit_reads_its_prompts_once(folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from scumble.priors import _latent

    again = list[str]()

    def spied(folder: Any, part: str, *rest: Any) -> Any:
        again.append(part)
        return known(folder, part, *rest)

    known = _latent.load_text
    monkeypatch.setattr(_latent, "load_text", spied)
    request = EditRequest(image=torch.zeros(1, 3, 32, 32), source="a cat", target="a dog")
    method = FlowEdit(steps=2, guidance=2.0, source_guidance=1.5)
    saving, plain = load(folders["sd3"], "text", "offload"), load(folders["sd3"])
    assert torch.equal(method(saving, request).raw, method(plain, request).raw)
    assert again == []
    assert torch.equal(method(saving, request).raw, method(plain, request).raw)
    assert again == ["text_encoder", "text_encoder_2", "text_encoder_3"]


def test_a_lora_of_text_encoders_comes_back_with_them(folders: Mapping[str, Path], tmp_path: Path) -> None:
    tensors = {
        "lora_te1_text_model_encoder_layers_1_mlp_fc1.lora_up.weight": torch.ones(64, 2),
        "lora_te1_text_model_encoder_layers_1_mlp_fc1.lora_down.weight": torch.ones(2, 32),
        "unet.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 32),
        "unet.mid_block.attentions.0.proj_in.lora_B.weight": torch.ones(32, 2),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    options = {"lora": [str(tmp_path / "a.safetensors:0.3")], "clip_skip": 0}
    plain, saving = load(folders["sdxl"], **options), load(folders["sdxl"], "text", **options)
    assert not torch.equal(plain.embed(["a cat"]).tokens, load(folders["sdxl"]).embed(["a cat"]).tokens)
    for prompt in ("a cat", "a dog"):
        assert torch.equal(asked(saving, prompt), asked(plain, prompt))


def test_in_fewer_bits_and_fewer_layers(folders: Mapping[str, Path], pristine: Path) -> None:
    plain, saving = (load(folders["flux"], "8bit", *more) for more in ((), ("text",)))
    for prompt in ("a cat", "a dog"):
        assert torch.equal(asked(saving, prompt), asked(plain, prompt))
    with pytest.raises(InputError, match="clip_skip 1 of 1 layers"):
        load(pristine, "text", clip_skip=1)


def test_an_embedding_does_not_come_back(folders: Mapping[str, Path], tmp_path: Path) -> None:
    save_file({"clip_l": torch.zeros(2, 32), "clip_g": torch.zeros(2, 32)}, tmp_path / "ink.safetensors")
    with pytest.raises(InputError, match="an embedding lives in the text encoder, .*; leave --embedding or"):
        load(folders["sdxl"], "text", embedding=[str(tmp_path / "ink.safetensors")])
    with pytest.raises(InputError, match="'text' and 'sequential' exclude each other"):
        load(folders["sdxl"], "text", "sequential")


def test_what_is_tuned_stays(folders: Mapping[str, Path]) -> None:
    prior = load(folders["sdxl"], "text")
    low_rank = LowRank(rank=2, alpha=2, parts=("text",), targets=("fc1",))
    with prior.adapter(low_rank) as matrices:
        for name, matrix in matrices.items():
            with torch.no_grad():
                matrix.fill_(0.1)
            assert name.startswith("text")
        changed = prior.embed(["a cat"]).tokens
        asked(prior)
        assert torch.equal(prior.embed(["a cat"]).tokens, changed)
    asked(prior)
    assert not torch.equal(prior.embed(["a cat"]).tokens, changed)


class Placed(torch.nn.Module):
    """Says where it is."""

    where = "cpu"

    def to(self, device: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.where = torch.device(device).type
        return self


@pytest.mark.parametrize(
    ("memory", "at_the_end"), [(["text"], ("network", "vae")), (["text", "offload"], ("vae",))]
)
def test_network_and_codec_are_on_the_device_together(memory: list[str], at_the_end: tuple[str, ...]) -> None:
    parts = {name: Placed() for name in ("network", "vae", "text", "other")}
    desk = Desk(torch.device("meta"), memory)
    assert desk.home.type == "cpu"
    desk.prepare(*parts.values())
    for name, there in (
        ("vae", ("vae",)),
        ("text", ("text",)),
        ("other", ("other",)),
        ("network", ("network",)),
        ("vae", at_the_end),
        ("vae", at_the_end),
    ):
        with desk.at_work(parts[name]):
            assert tuple(each for each, part in parts.items() if part.where == "meta") == there


def test_the_estimate_counts_them(folders: Mapping[str, Path]) -> None:
    sizes = {"transformer": 22, "vae": 1, "text_encoder": 2, "text_encoder_2": 9}
    assert (at_once(sizes, ()), at_once(sizes, ("text",)), at_once(sizes, ("text", "offload"))) == (
        34,
        23,
        22,
    )
    assert at_once({**sizes, "text_encoder_2": 40}, ("text",)) == 40
    assert (kept(sizes, ("offload",)), kept(sizes, ("offload", "text"))) == (34, 23)
    said = dict(needs(str(folders["flux"])))
    assert said["with less"].startswith("--memory text ")
    assert "iB while it loads; with --memory text" in said["main memory"]
