"""Inside other programs: threads that share a model, and whatever a host has set in torch."""

import copy
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.modules import module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import scumble
from scumble import InputError
from scumble.core.control import Now, Site
from scumble.methods import METHODS, get
from scumble.priors._sharing import lock_of, usable
from scumble.priors.stable_diffusion import StableDiffusionPrior
from tests.priors.conftest import make_unet, pristine  # noqa: F401

ABLE = sorted(name for name in METHODS if not get(name).needs.given)
SETTINGS: dict[str, dict[str, object]] = {name: {"steps": 2} for name in ABLE}
SETTINGS["null_text"]["inner_steps"] = SETTINGS["ids"]["inner_steps"] = 1
SETTINGS["repaint"] |= {"jump_length": 1, "jump_samples": 2}
SETTINGS["ilvr"] |= {"factor": 2}
SETTINGS["masactrl"]["layer"], SETTINGS["plug_and_play"]["feature_block"] = 3, 2  # as small as the network


def edited(model: scumble.Prior, method: str, picture: Image.Image, seed: int = 5, **more: Any) -> np.ndarray:
    """The pixels of an edit of few steps on a small canvas, with a mask and a reference where the method needs one."""
    needs, width = get(method).needs, picture.width
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, width // 2, picture.height))
    more = {
        **({"mask": mask} if needs.mask else {}),
        **({"reference": picture} if needs.reference else {}),
        **more,
    }
    edit = scumble.edit(
        picture, source="a b", target="a c", method=method, settings=SETTINGS[method], size=16, model=model,
        seed=seed, keep="none", **more,
    )  # type: ignore[arg-type]  # fmt: skip
    assert edit.picture is not None
    return np.asarray(edit.picture)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def hooked() -> Iterator[None]:
    """Hooks on all modules, as profilers and quantisers set them."""
    handles = [
        module.register_module_forward_pre_hook(lambda *_: None),
        module.register_module_forward_hook(lambda *_: None),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Dispatched(TorchDispatchMode):
    """Sees every operation, as profilers and memory trackers do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Seen(TorchFunctionMode):
    """Sees every call of torch, as the default device does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


PARTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),  # whatever is made there by mistake has no values
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": deterministic,
    "hooks": hooked,
    "dispatch mode": Dispatched,
    "function mode": Seen,
}
"""What a host may have set."""


def together(*names: str) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def state() -> Iterator[None]:
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(PARTS[name]())
            yield

    return state


STATES = {
    "inference": together("inference mode", "float64", "meta"),  # as ComfyUI runs its nodes, and more
    "half": together("gradients", "float16", "autocast"),
    "watched": together(
        "no gradients", "bfloat16", "deterministic", "hooks", "dispatch mode", "function mode"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("method", ABLE)
def test_an_edit_does_not_depend_on_what_a_host_has_set(
    method: str, model: scumble.Prior, circle: Image.Image
) -> None:
    plain = edited(model, method, circle)
    for name, state in STATES.items():
        with state():
            again = edited(model, method, circle)
        assert np.array_equal(plain, again), name


def test_forms_do_not_depend_on_what_a_host_has_set(model: scumble.Prior, circle: Image.Image) -> None:
    plain = edited(model, "dds", circle, form="lut")
    for name, state in STATES.items():
        with state():
            assert np.array_equal(plain, edited(model, "dds", circle, form="lut")), name


def test_draws_do_not_depend_on_what_a_host_has_set() -> None:
    x = torch.zeros(2, 4, 3, 3)
    plain = scumble.Noise(7, 2).like(x)
    for dtype in (torch.float64, torch.float16):
        with default_dtype(dtype), torch.device("meta"):
            assert torch.equal(plain, scumble.Noise(7, 2).like(x))


@pytest.mark.parametrize("name", STATES)
def test_a_model_does_not_depend_on_where_it_was_loaded(
    name: str,
    model: scumble.Prior,
    pristine: Path,  # noqa: F811
    circle: Image.Image,
) -> None:
    with STATES[name]():
        loaded = scumble.load(pristine, device="cpu")
    for part in loaded.parameters().values():
        assert not part.is_inference()
        assert part.dtype == torch.float32
    assert np.array_equal(edited(loaded, "cds", circle), edited(model, "cds", circle))


def test_methods_take_tensors_that_were_made_in_inference_mode(model: scumble.Prior) -> None:
    with torch.inference_mode():
        image = torch.zeros(1, 3, 16, 16)
        latent = model.encode(image)
    request = scumble.EditRequest(image=image, latent=latent, source="a", target="b")
    with torch.inference_mode():
        scumble.CDS(steps=1)(model, request)
    assert scumble.CDS(steps=1)(model, request).raw.isfinite().all()


def test_weights_that_were_made_in_inference_mode_let_gradients_through() -> None:
    with torch.inference_mode():
        network = make_unet()
    usable(network)
    x = torch.zeros(1, 4, 8, 8, requires_grad=True)
    network(x, torch.tensor([5]), torch.zeros(1, 3, 16)).sample.sum().backward()
    assert x.grad is not None


# Threads -------------------------------------------------------------------------------------------------

MIXED = ["p2p", "sdedit", "dds_fast", "cds", "ledits_pp", "sdedit"]


@pytest.mark.slow
def test_threads_that_share_a_model_get_their_own_pictures(model: scumble.Prior, circle: Image.Image) -> None:
    """SCUMBLE_EDITS=200 makes that many in each of the two threads."""
    count = int(os.environ.get("SCUMBLE_EDITS", "3"))
    serial = {method: edited(model, method, circle) for method in MIXED}
    wrong: list[str] = []

    def work(shift: int) -> None:
        for k in range(count):
            method = MIXED[(k + shift) % len(MIXED)]
            try:
                if not np.array_equal(edited(model, method, circle), serial[method]):
                    wrong.append(method)
            except Exception as error:
                wrong.append(f"{method}: {error!r}")

    threads = [threading.Thread(target=work, args=(shift,)) for shift in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Everything:
    """A control that wants the cross attention and leaves it as it is."""

    def wants(self, site: Site) -> bool:
        return site.kind == "cross"

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        return h


def test_calls_of_other_threads_wait_while_a_control_is_open(model: scumble.Prior) -> None:
    assert isinstance(model, StableDiffusionPrior)
    twin = copy_of(model)  # the same network in another prior
    done = threading.Event()

    def other() -> None:
        twin.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), twin.embed(["a"]))
        done.set()

    with model.control(Everything()):
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.2)
        model.predict(torch.zeros(1, 4, 8, 8), torch.tensor([5]), model.embed(["a"]))
    thread.join(60)
    assert done.is_set()


def copy_of(model: StableDiffusionPrior) -> StableDiffusionPrior:
    twin = object.__new__(StableDiffusionPrior)
    vars(twin).update(vars(model))
    twin.lock = lock_of(model._unet)
    return twin


def test_models_refuse_to_be_pickled_in_words(model: scumble.Prior) -> None:
    for hand_over in (pickle.dumps, copy.deepcopy):
        with pytest.raises(InputError, match=r"not pickled; hand its name .* scumble.load it there"):
            hand_over(model)


def test_a_copy_of_a_model_shares_its_network_and_its_lock(model: scumble.Prior) -> None:
    twin = copy.copy(model)
    assert twin.__dict__ == model.__dict__
    assert twin is not model
