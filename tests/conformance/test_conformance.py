"""All methods on the exact priors and on a tiny network; all priors but the trained ones.

That each field of a method changes its result is shown where it is cheapest: on the Gaussians, and on the network
for methods that look into one.
"""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import Card
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.editing.checks import taken
from scumble.inversions import editing as inversions
from scumble.methods import METHODS, get
from scumble.methods.sampling import Sampling
from scumble.networks.editor import Editor, EditorConfig, Task, probe_picture
from scumble.priors.exact import FinitePrior, GaussianPrior
from scumble.priors.pixel import PixelPrior
from scumble.priors.stable_diffusion import StableDiffusionPrior
from scumble.testing import check_fields, check_method, check_prior

from . import judges, tiny, trained

TINY_DDPM = Path(__file__).parents[1] / "goldens/tiny-ddpm"


def gaussian(schedule: Schedule) -> GaussianPrior:
    means = {"": (0.1, 0.1, 0.1), "a": (0.6, -0.2, 0.0), "b": (-0.3, 0.4, 0.9)}
    pictures = {prompt: torch.tensor(mean).reshape(3, 1, 1).repeat(1, 4, 8) for prompt, mean in means.items()}
    less = torch.linspace(1, 0, 6).repeat_interleave(torch.tensor([1, 1, 1, 1, 1, 3]))
    pictures["b"] = pictures["a"] + less * (pictures["b"] - pictures["a"])  # they differ to the left alone
    pictures["b, sharp"], pictures["b, blurry"] = pictures["b"] + 0.3, pictures["b"] - 0.2
    return GaussianPrior(pictures, 0.5, schedule)


def finite(schedule: Schedule) -> FinitePrior:
    pictures = (
        Noise(4, 6).like(torch.empty(6, 3, 4, 8, dtype=torch.float64)) / 10
    )  # near enough to stay in doubt
    captions = ["a", "b, sharp", "c", "a", "b, blurry", "c"]
    return FinitePrior(pictures, captions, lambda prompt, caption: caption.startswith(prompt), schedule)


@pytest.fixture(scope="module")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPrior:
    folder = tiny.save(tmp_path_factory.mktemp("tiny"))
    prior = StableDiffusionPrior.from_pretrained(str(folder), device="cpu", dtype="float32")
    able = frozenset({"text", "gradient", "control"})
    prior._card = lambda: Card(id="tiny", hash="", domain="Noise.", size=16, multiple=4, capabilities=able)
    return prior


EXACT = {
    "gaussian": lambda: gaussian(Schedule.scaled_linear(offset=1, last=0)),
    "gaussian-flow": lambda: gaussian(Schedule.flow()),
    "finite": lambda: finite(Schedule.linear()),
    "finite-flow": lambda: finite(Schedule.flow()),
}
# Few enough steps for a network, at values where every field still matters.
SHORT: dict[str, dict[str, Any]] = {
    "asyrp": {"steps": 4, "inversion_steps": 3, "edit_until": 700, "boost": 400},
    "diffusionclip": {"steps": 3, "inversion_steps": 3},
    "blended_diffusion": {"steps": 4, "augmentations": 2, "clip_weight": 10.0},
    "blended_latent_diffusion": {"steps": 4, "fit_steps": 2, "fit": "decoder"},
    "ilvr": {"steps": 4, "factor": 8},
    "repaint": {"steps": 6, "jump_length": 2, "jump_samples": 2},
    "sdedit": {"steps": 10},
    "masactrl": {"steps": 4, "layer": 3},
    "plug_and_play": {"steps": 4, "feature_block": 2},
    "diffedit": {"steps": 4, "draws": 3},
    "null_text": {"steps": 2, "inner_steps": 2},
    "pix2pix_zero": {"steps": 3, "rounds": 2, "rolls": 2},
    "ids": {"steps": 2, "inner_steps": 2},
    "nfsd": {"steps": 4, "bad": "dull"},
    "sbp": {"steps": 4, "good": ", fine", "bad": ", dull"},
}
EXACTLY: dict[str, dict[str, Any]] = {  # the exact priors know none of these words, and are 4 pixels high
    "classifier_guidance": {"guidance": 1.5},  # the fields of guidance count where there is some
    "blended_diffusion": {"guidance": 1.5, "steps": 6, "augmentations": 3},
    "ilvr": {"factor": 2},
    "repaint": {"jump_length": 3, "jump_samples": 2},
    "null_text": {"inner_steps": 3},
    "nfsd": {"bad": ""},
    "sbp": {"good": "", "bad": ""},
    "sdg": {"guidance": 1.5},
}
STEPLESS = frozenset({"editor"})  # one pass
TASK = {"editor": {"task": "first"}}


def given(name: str, prior: Any) -> Any:
    """What a method must be given, made for a prior."""
    if name in JUDGED:
        return judges.given
    if name != "editor":
        return trained.given(get(name).needs.given, prior)
    with torch.no_grad():
        probe = prior.encode(probe_picture())
    config = EditorConfig(channels=probe.shape[1], widths=(8,), attention=(False,), head=8, groups=4)
    tasks = tuple(Task(name=task, source="a", target="b") for task in ("first", "second"))
    editor = Editor(config, tasks, probe=probe)
    for k, p in enumerate(editor.parameters()):  # an untrained editor changes nothing
        p.data = Noise(k).like(torch.empty(1, p.numel(), 1, 1)).reshape(p.shape) / 4
    return lambda request: {"editor": editor}


def short(name: str, steps: int) -> dict[str, Any]:
    return {**({} if name in STEPLESS else {"steps": steps}), **TASK.get(name, {})}


JUDGED = {name for name in METHODS if {"clip", "classifier"} & {*get(name).needs.given}}
ON_EXACT = [name for name in METHODS if not get(name).needs.control]
ALSO = ("ids", "blended_latent_diffusion")  # which may contrast, and fit a decoder
INVERTS = ("null_text", "direct_inversion", "diffedit", "diffusionclip", "edit_friendly", "ddim_inversion")
"""Long on Gaussians; the quick lane has them on finite priors."""
LOOKS_INSIDE = [name for name in METHODS if get(name).needs.control or name in ALSO]


@pytest.mark.parametrize("prior", EXACT)
def test_exact_priors_conform(prior: str) -> None:
    check_prior(EXACT[prior]())


def test_the_pixel_prior_conforms() -> None:
    check_prior(PixelPrior.from_pretrained(TINY_DDPM), dtype=torch.float32, atol=2e-4)


def test_the_latent_prior_conforms(tiny_sd: StableDiffusionPrior) -> None:
    check_prior(tiny_sd, dtype=torch.float32, atol=2e-4)


@pytest.mark.parametrize("prior", ["gaussian", "gaussian-flow"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in (*JUDGED, *INVERTS) else ()) for name in ON_EXACT],
)
def test_methods_conform_on_gaussians(name: str, prior: str) -> None:
    settings, world = {**short(name, 12), **EXACTLY.get(name, {})}, EXACT[prior]()
    every = name not in LOOKS_INSIDE
    atol = 1e-5 if name in STEPLESS else 1e-9  # it calculates in float32
    check_method(get(name), world, settings=settings, every_field=every, given=given(name, world), atol=atol)


@pytest.mark.parametrize("prior", ["finite", "finite-flow"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in JUDGED else ()) for name in ON_EXACT]
)
def test_methods_conform_on_finite_priors(name: str, prior: str) -> None:
    settings, world = {**short(name, 6), **EXACTLY.get(name, {})}, EXACT[prior]()
    atol = 1e-5 if name in STEPLESS else 1e-9
    check_method(get(name), world, settings=settings, every_field=False, given=given(name, world), atol=atol)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ON_EXACT else ()) for name in METHODS]
)
def test_methods_conform_on_a_network(name: str, tiny_sd: StableDiffusionPrior) -> None:
    settings, network = SHORT.get(name, short(name, 4)), {"dtype": torch.float32, "atol": 2e-4}
    check_method(
        get(name), tiny_sd, settings=settings, every_field=False, given=given(name, tiny_sd), **network
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOKS_INSIDE)
def test_every_field_matters_on_a_network(name: str, tiny_sd: StableDiffusionPrior) -> None:
    method = get(name)(**SHORT.get(name, {"steps": 4}))
    check_fields(method, tiny_sd, dtype=torch.float32, given=given(name, tiny_sd))


@pytest.mark.parametrize("prior", ["gaussian", "finite-flow"])
def test_sampling_conforms(prior: str) -> None:
    check_method(Sampling, EXACT[prior](), settings={"steps": 12}, every_field=prior == "gaussian")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm"])
def test_sampling_conforms_on_a_network(sampler: str, tiny_sd: StableDiffusionPrior) -> None:
    settings = {"steps": 4, "sampler": sampler}
    check_method(Sampling, tiny_sd, settings=settings, every_field=False, dtype=torch.float32, atol=2e-4)


@pytest.mark.slow
def test_sdedit_conforms_without_text() -> None:
    prior = PixelPrior.from_pretrained(TINY_DDPM)
    check_method(get("sdedit"), prior, settings={"steps": 10}, dtype=torch.float32, atol=2e-3)


READS = re.compile(r'given(?:\.get)?\(\s*"(\w+)"|"(\w+)" in (?:\w+\.)*given')
BEGINS = re.compile(r"from scumble\.inversions\.editing import .*\b(begin|resample)\b")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_declares_all_that_it_reads_of_what_it_is_given(name: str) -> None:
    modules = {each.__module__ for each in get(name).__mro__}
    texts = [
        Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
        for module in modules
        if module.startswith("scumble.methods.")
    ]
    if any(BEGINS.search(text) for text in texts):
        texts.append(Path(inversions.__file__).read_text(encoding="utf-8"))
    read = {one or other for text in texts for one, other in READS.findall(text)}
    assert read <= taken(get(name))
    assert set(get(name).needs.given) <= read


def test_every_reader_of_what_is_given_is_seen() -> None:
    """The same words as those that the test before finds, in every file below methods and inversions."""
    root = Path(inversions.__file__).parents[1]
    files = [path for room in ("methods", "inversions") for path in (root / room).glob("*.py")]
    texts = {path.stem: path.read_text(encoding="utf-8") for path in files}
    calls = {name for name, text in texts.items() if re.search(r"\bgiven\(|request\.given\b(?!\[)", text)}
    assert calls == {name for name, text in texts.items() if READS.search(text)}
    assert {"editing"} == {name for name in calls if (root / "inversions" / f"{name}.py").exists()} - {
        "editor"
    }


@pytest.mark.parametrize("name", [name for name in METHODS if get(name).needs.control])
def test_methods_that_control_attention_say_where_there_is_none(name: str) -> None:
    prior = EXACT["gaussian"]()
    needed = dict.fromkeys(get(name).needs.given)
    request = EditRequest(image=torch.zeros(1, 3, 4, 8), source="a", target="b", given=needed)
    with pytest.raises(InputError, match="needs a model with control, which 'gaussian' does not have"):
        get(name)()(prior, request)
