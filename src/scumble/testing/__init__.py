"""The conformance kit: what every method and every prior must satisfy. Call it in your own tests, too.

    check_prior(MyPrior())
    check_method(MyMethod, GaussianPrior({"": 0, "a": 1, "b": -1}))

Each raises AssertionError and names the law that is broken. `atol` is the tolerance that the prior's precision allows:
exact priors agree to the last bits of float64, a network in float32 to about 1e-4.

Not here: tests of one method or one model (`tests/`).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import Tensor

from scumble.core.guidance import guide
from scumble.core.job import Counted
from scumble.core.noise import Noise
from scumble.core.prior import Prior, ask
from scumble.core.request import Cancelled, Edit, EditRequest, Step
from scumble.core.rescaling import normed
from scumble.testing._requests import Given, left_half, picture, picture_alone, requests

__all__ = ["check_fields", "check_method", "check_prior", "no_trace", "picture"]

GUIDES = frozenset({"guidance", "rescale", "guidance_low", "guidance_high"})  # they need prompts
SEEDS = 8  # tried before a field is said to change nothing: what hangs on where an edit goes may wait for its case


@contextmanager
def no_trace(prior: Prior) -> Iterator[None]:
    """Fails if weights, their gradients or the global generator are not left as they were."""
    before = {name: (w.detach().clone(), w.requires_grad) for name, w in prior.parameters().items()}
    state = torch.get_rng_state()
    try:
        yield
    finally:
        assert torch.equal(torch.get_rng_state(), state), "the global random generator was used"
        assert prior.parameters().keys() == before.keys(), "weights were added or taken away"
        for name, weight in prior.parameters().items():
            value, grad = before[name]
            assert torch.equal(weight, value), f"the weight {name} was changed"
            assert weight.requires_grad == grad, f"requires_grad of {name} was changed"
            assert weight.grad is None, f"a gradient was left on {name}"


def _near(a: Tensor, b: Tensor, atol: float, law: str) -> None:
    assert a.shape == b.shape, f"{law}: shapes {tuple(a.shape)} and {tuple(b.shape)}"
    off = float((a - b).abs().max()) if a.numel() else 0.0
    assert off <= atol, f"{law}: off by {off:.2e}, allowed {atol:.2e}"


def check_prior(
    prior: Prior,
    *,
    prompts: tuple[str, str] = ("a", "b"),
    wide: bool = True,
    dtype: torch.dtype = torch.float64,
    atol: float = 1e-9,
) -> None:
    """The seam: both ends of x_t, batching, guidance, gradients, and no trace. Unconditional priors take no
    prompts.
    """
    with no_trace(prior):
        has_text = "text" in prior.card.capabilities
        text = prior.embed(prompts if has_text else ("", ""))
        null = prior.embed(["", ""])
        with torch.no_grad():
            _check_codec(prior, picture(prior, 2, wide=wide, dtype=dtype))
            z = prior.encode(picture(prior, 2, wide=wide, dtype=dtype))
            schedule, noise = prior.schedule, Noise(3, 2)
            t = torch.tensor([schedule.T // 4, schedule.T // 2])
            x_t = schedule.mix(z, noise.like(z), t)
            for at in (None, t + 5):
                p = prior.predict(x_t, t, text, at)
                _near(
                    schedule.mix(p.x0, p.eps, t if at is None else at),
                    x_t,
                    atol,
                    "alpha x0 + sigma eps == x_t",
                )
            together = prior.predict(x_t, t, text)
            for i in range(2):
                alone = prior.predict(x_t[i : i + 1], t[i : i + 1], text.take([i]))
                _near(alone.eps, together.eps[i : i + 1], atol, "a row does not depend on its companions")
            answers = ask(prior, {("a", "text"): (x_t, text), ("b", "null"): (x_t, null)}, t)
            _near(answers["a", "text"].eps, together.eps, atol, "ask() gives every row its own answer")
            ends = [(1.0, together)]
            if prior.card.guidance == "free":  # the others ask no null row
                unsaid = prior.predict(x_t, t, null)
                norm = prior.card.norm  # the text's norms stay, whatever is guided
                ends.append((0.0, normed(schedule, t, unsaid, together, norm) if norm else unsaid))
            for w, expected in ends:
                _near(
                    guide(prior, text, null, w)(x_t, t, None).eps,
                    expected.eps,
                    atol,
                    f"guidance at w = {w:.0f}",
                )
        if "gradient" in prior.card.capabilities:
            x = x_t.clone().requires_grad_()
            (grad,) = torch.autograd.grad(prior.predict(x, t, text).eps.sum(), x)
            assert float(grad.abs().sum()) > 0, "predict() is differentiable in x_t"
        if has_text:
            tokens = text.tokens.detach().clone().requires_grad_()
            (grad,) = torch.autograd.grad(
                prior.predict(x_t, t, replace(text, tokens=tokens)).x0.sum(), tokens
            )
            assert float(grad.abs().sum()) > 0, "predict() is differentiable in the text"
            _check_text(prior, prompts)


def _check_codec(prior: Prior, image: Tensor) -> None:
    z = prior.encode(image)
    assert z.ndim == 4, "encode() gives (b, c, h, w)"
    assert len(z) == len(image), "encode() gives one latent per picture"
    assert z.dtype in (torch.float32, torch.float64), "latents are not of half precision"
    assert torch.equal(z, prior.encode(image)), "encode() without noise is deterministic"
    assert prior.decode(z).shape == image.shape, "decode() gives a picture of the encoded size"


def _check_text(prior: Prior, prompts: tuple[str, str]) -> None:
    both, first = prior.embed(prompts), prior.embed(prompts[:1])
    assert len(both) == 2, "embed() gives one row per prompt"
    assert both.prompts == prompts, "a text knows its prompts"
    for rows, text in {"take": both.take([0]), "expand": first.expand(1)}.items():
        assert torch.allclose(text.tokens, first.tokens, atol=1e-5), f"Text.{rows} keeps the tokens"
    assert type(both).cat([both, first]).prompts == (*prompts, prompts[0]), "Text.cat keeps the order"


def check_method(
    Method: type[Any],
    prior: Prior,
    *,
    settings: Mapping[str, object] | None = None,
    source: str = "a",
    target: str = "b",
    wide: bool = True,
    dtype: torch.dtype = torch.float64,
    atol: float = 1e-9,
    every_field: bool = True,
    given: Given | None = None,
) -> None:
    """Seeds, batches, reports, cancelling, settings, and no trace. `settings` make the method short enough to
    test.

    A mask and a reference are drawn where `Method.needs` asks for them, and an artifact is prepared where the
    method prepares it itself; `given` makes whatever else `needs.given` names (a classifier, tuned weights).
    A method may go up again in time, and a one-pass editor may ask the network nothing.
    `every_field`: `check_fields`, too. It costs an edit or two per field: once, on the cheapest prior, is enough.
    """
    method = Method(**(settings or {}))
    request = requests(method, prior, source, target, wide, dtype, given)
    _check_settings(method)
    with no_trace(prior):
        edit = _check_reports(method, prior, request())
        _check_batch(method, prior, request(2), given, edit, atol)
        _check_cancelling(method, prior, request())
        if Method.identity:
            same = request(source=request().target)
            z = prior.encode(same.image)  # pyright: ignore[reportArgumentType]
            _near(method(prior, same).latent, z, atol, "equal prompts leave the picture as it is")
    if every_field:
        check_fields(method, prior, source=source, target=target, wide=wide, dtype=dtype, given=given)


def _check_settings(method: Any) -> None:
    assert type(method)(**json.loads(json.dumps(asdict(method)))) == method, "settings survive JSON"
    assert method.paper.title, "the method names its paper"
    for f in fields(method):
        assert f.metadata.get("help"), f"{f.name} has a line of help"


def _check_reports(method: Any, prior: Prior, request: EditRequest) -> Edit:
    steps: list[Step] = []
    before = {f.name: getattr(request, f.name) for f in fields(request)}
    image = None if request.image is None else request.image.clone()
    counted = Counted(prior)
    edit: Edit = method(counted, request, steps.append)
    assert [step.k for step in steps] == list(range(1, len(steps) + 1)), "steps are reported in order"
    assert steps, "on_step is called"
    assert {step.n for step in steps} == {len(steps)}, "the number of steps announced is the number reported"
    assert steps[-1].preview().shape == edit.raw.shape, "a preview is a picture"
    assert edit.evaluations == steps[-1].evaluations == counted.rows, "evaluations are counted"
    assert not edit.latent.requires_grad, "no autograd graph is left"
    assert bool(edit.raw.isfinite().all()), "the result is finite"
    for name, value in before.items():
        assert getattr(request, name) is value, f"the request's {name} is as it was"
    assert image is None or torch.equal(request.image, image), "the input picture is as it was"  # pyright: ignore[reportArgumentType]
    _near(method(prior, request).latent, edit.latent, 0, "the same seed gives the same result")
    return edit


def _check_batch(
    method: Any, prior: Prior, batch: EditRequest, given: Given | None, first: Edit, atol: float
) -> None:
    """Picture i of a batch is edited as it would be alone with seed + i; `first`: picture 0 alone."""
    together = method(prior, batch).latent
    second = picture_alone(method, prior, batch, 1, given)
    for i, alone in enumerate((first, method(prior, second))):
        _near(alone.latent, together[i : i + 1], atol, f"picture {i} does not depend on the batch")


def _check_cancelling(method: Any, prior: Prior, request: EditRequest) -> None:
    def stop(step: Step) -> None:
        raise Cancelled

    try:
        method(prior, request, stop)
    except Cancelled:
        return
    raise AssertionError("a method lets Cancelled through")


def check_fields(
    method: Any,
    prior: Prior,
    *,
    source: str = "a",
    target: str = "b",
    wide: bool = True,
    dtype: torch.dtype = torch.float64,
    given: Given | None = None,
) -> None:
    """Changing any field of the method changes some edit; `try` and `needs` of its metadata say how.

    `given` as in `check_method`.
    """
    request = requests(method, prior, source, target, wide, dtype, given)
    has_text = "text" in prior.card.capabilities
    known: dict[tuple[Any, bool, int], list[Tensor]] = {}

    def path(method: Any, request: EditRequest) -> list[Tensor]:
        """Fields share the edits that they are compared with."""
        key = method, request.mask is None, request.seed
        if key not in known:
            known[key] = _path(method, prior, request)
        return known[key]

    for f in fields(method):
        needs = f.metadata.get("needs")
        if f.name in GUIDES and not has_text:
            continue
        base, asked = method, request()
        if needs == "mask":
            asked = replace(asked, mask=left_half(picture(prior, wide=wide, dtype=dtype)))
        elif needs:
            name, _, value = needs.partition("=")
            base = replace(method, **{name: type(getattr(method, name))(value)})
        assert "try" in f.metadata, f"{f.name} names a value to try"
        assert f.metadata["try"] != getattr(base, f.name), f"{f.name}: the value to try is the one it has"
        changed = replace(base, **{f.name: f.metadata["try"]})
        seeds = (replace(asked, seed=asked.seed + i) for i in range(SEEDS))
        assert any(_differ(path(base, each), _path(changed, prior, each)) for each in seeds), (
            f"{f.name} changes nothing"
        )


def _path(method: Any, prior: Prior, request: EditRequest) -> list[Tensor]:
    """Every state of an edit, and its result: its latent, and its picture, which may be made otherwise."""
    states: list[Tensor] = []
    edit: Edit = method(prior, request, lambda step: states.append(step.x))
    return [*states, edit.latent, edit.raw]


def _differ(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) != len(b) or any(
        x.shape != y.shape or not torch.equal(x, y) for x, y in zip(a, b, strict=True)
    )
