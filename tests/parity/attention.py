"""Prompt-to-Prompt: its tables of words, its controllers on given maps, and whole runs, against the authors';
MasaCtrl and Plug-and-Play on the same controls.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from scumble.attention.blend import LocalBlend
from scumble.attention.inject import Borrow, Inject, Window
from scumble.attention.words import Alignment, align, factors
from scumble.core.control import Now, Row, Site
from scumble.core.guidance import guide
from scumble.core.noise import Tape
from scumble.core.prior import Text
from scumble.core.request import EditRequest
from scumble.inversions import DDIMInverter, off_the_chain, prepare
from scumble.loops.ddim import ddim
from scumble.methods.masactrl import MasaCtrl
from scumble.methods.p2p import P2P
from scumble.methods.plug_and_play import PlugAndPlay

from .case import Case, same
from .models import listen, tiny_sd

SOURCE: Row = ("source", "text")
TARGET: Row = ("target", "text")
CROSS = Site("cross", "mid", 0, 1, 0)


def check_masactrl(case: Case) -> None:
    """From a latent's inversion, empty source prompt: the chain, the stored differences, both branches."""
    prior, hyper, prompts = tiny_sd(case), case.hyper, case.prompts("source") + case.prompts("target")
    text, clean = prior.embed(prompts), case["latents_clean"]
    same(text.ids, case["token_ids"], "token_ids")
    case.close("text_embeddings", text.tokens, 1e-5)
    case.close("negative_embeddings", prior.embed([""]).tokens, 1e-5)
    prior.encode = lambda image, noise=None: clean
    image = torch.zeros(1, 3, 8 * clean.shape[-2], 8 * clean.shape[-1])
    method = MasaCtrl(
        steps=hyper["num_steps"],
        guidance=hyper["guidance_scale"],
        start=hyper["start_step"] / hyper["num_steps"],
        layer=hyper["start_layer"],
        inversion=hyper["mode"],
    )
    request = EditRequest(image=image, source=prompts[0], target=prompts[1], keep=("source",))
    chain = method.prepare(prior, request)
    same(torch.tensor([t for t, _ in chain.pairs]), case["timesteps"], "timesteps")
    case.close("inversion_trajectory", chain.trajectory.flip(0))
    if "offsets" in case:
        denoise = guide(prior, text, prior.embed([""]).expand(len(text)), method.guidance)
        with torch.no_grad():
            case.close("offsets", off_the_chain(denoise, chain, prior.schedule, len(text)))
    branches = Branches(prior)
    edit = method(prior, replace(request, given={"inversion": chain}))
    states = branches.states(method.steps)
    case.close("edit_trajectory", states)
    case.close("latents_0", states[-1])
    if "image_edit" in case:
        case.close("image_edit", edit.raw)


@torch.no_grad()
def check_plug_and_play(case: Case) -> None:
    """The chain, its way back, and the edit, from the chain or from what a slip makes of the way back."""
    prior, hyper, clean = tiny_sd(case), case.hyper, case["latents_clean"]
    prompts = {name: case.prompts(name) for name in ("source", "target", "negative")}
    same(torch.cat([prior.embed(p).ids for p in prompts.values()]), case["token_ids"], "token_ids")
    for name, prompt in {**prompts, "empty": [""]}.items():
        case.close(f"{name}_embeddings", prior.embed(prompt).tokens, 1e-5)
    prior.encode = lambda image, noise=None: clean
    image = torch.zeros(1, 3, 8 * clean.shape[-2], 8 * clean.shape[-1])
    method = PlugAndPlay(
        steps=hyper["num_steps"],
        guidance=hyper["guidance_scale"],
        features=hyper["feature_fraction"],
        attention=hyper["attention_fraction"],
    )
    request = EditRequest(
        image=image,
        source=prompts["source"],
        target=prompts["target"],
        negative=prompts["negative"],
        keep=("trajectory",),
    )
    inverter: Any = DDIMInverter(steps=method.steps, guidance=hyper["inversion_guidance_scale"])
    chain = prepare(method, inverter, prior, request, None)
    same(torch.tensor([t for t, _ in chain.pairs]), case["timesteps"], "timesteps")
    case.close("inversion_trajectory", chain.trajectory.flip(0))
    back: list[Tensor] = []
    source, null = prior.embed(prompts["source"]), prior.embed([""])
    ddim(
        guide(prior, source, null, 1), chain.trajectory[0], chain.pairs, prior.schedule,
        on_step=lambda k, n, t, x, clean: back.append(x),
    )  # fmt: skip
    case.close("reconstruction_trajectory", torch.stack(back))
    if hyper["source_latents"] == "reconstruction":  # each state one level too clean
        chain = replace(chain, trajectory=torch.stack([*back, back[-1]]))
    edit: Any = method(prior, replace(request, given={"inversion": chain}))
    case.close("edit_trajectory", torch.stack([chain.trajectory[0], *edit.kept["trajectory"]]))
    case.close("latents_0", edit.latent)
    if "image_edit" in case:
        case.close("image_edit", edit.raw)


def check_prompt_to_prompt(case: Case) -> None:
    if "token_ids_0" in case:
        _alignments(case)
    elif "windows" in case.hyper:
        _words(case)
    elif "cross_maps" in case:
        _controllers(case)
    else:
        _sampling(case)


def _alignments(case: Case) -> None:
    prior = tiny_sd(case)
    for i, prompts in enumerate(case.json["prompts"].values()):
        source, target = (prior.embed([prompt]) for prompt in prompts)
        same(torch.cat([source.ids, target.ids]), case[f"token_ids_{i}"], "token_ids")
        refines = f"alphas_{i}" in case
        made = align("refine" if refines else "replace", source, target, published=True)
        _compare_alignment(case, made, f"mapper_{i}", f"alphas_{i}" if refines else None, rows=0)


def _compare_alignment(
    case: Case, made: Alignment, mapper: str, alphas: str | None, rows: int | slice = slice(None)
) -> None:
    matrix, own = made.matrix[rows], made.own[rows]
    if alphas is None:
        case.close(mapper, matrix)
        return
    same(torch.where(own > 0, -1, matrix.argmax(-2)), case[mapper], mapper)
    case.close(alphas, 1 - own)


def _words(case: Case) -> None:
    prior, hyper, prompts = tiny_sd(case), case.hyper, case.prompts("prompts")
    text = prior.embed(prompts)
    same(text.ids, case["token_ids"], "token_ids")
    for i, (row, word) in enumerate(hyper["word_queries"]):
        # They know a word by its blanks alone, and return none and go on where it is absent.
        exact = [n for said, tokens in text.words(row) if said == word for n in tokens]
        same(torch.tensor(exact), case[f"word_indices_{i}"], f"word_indices_{i}")
        assert not exact or set(exact) <= set(text.take([row]).spans(word)[0])
    for i, window in enumerate(hyper["windows"]):
        case.close(f"gates_{i}", _gates(prior, prompts, window, range(hyper["num_steps"], -1, -1)))
    row = hyper["equalizer_prompt_index"]
    case.close("equalizer", factors(text.take([row]), _equalizer(hyper))[0])


def _equalizer(hyper: Mapping[str, Any], of: str = "equalizer_words") -> dict[str, float]:
    return dict(zip(hyper.get(of, ()), hyper.get("equalizer_values", ()), strict=False))


def _gates(prior: Any, prompts: Sequence[str], window: Any, levels: Sequence[float]) -> Tensor:
    """(levels, K, L) of the method with the case's windows."""
    method = P2P(compat="authors", **_windows(window))
    return _method_gates(method, prior.embed(list(prompts[1:])), levels)


def _method_gates(method: P2P, target: Text, levels: Sequence[float]) -> Tensor:
    window, shape = method._window(target, levels), (len(target), target.tokens.shape[1])
    return torch.stack([window.at(t).expand(shape) for t in levels])


def _windows(window: Any) -> dict[str, Any]:
    """A number, a pair, or both by words, as the method takes them."""
    by_word = dict(window) if isinstance(window, dict) else {"default_": window}
    pairs = {word: (0.0, float(w)) if isinstance(w, int | float) else w for word, w in by_word.items()}
    start, end = pairs.pop("default_", (0.0, 1.0))
    words = ", ".join(f"{word}={a}:{b}" for word, (a, b) in pairs.items())
    return {"cross_start": start, "cross_end": end, "windows": words}


def _controllers(case: Case) -> None:
    """Edits of given maps: at each step one cross and one self map of all rows, nulls before texts."""
    prior, hyper = tiny_sd(case), case.hyper
    levels = list(range(hyper["num_steps"], -1, -1))
    for name in sorted(case.tensors):
        kind: Any
        kind, _, reweighted = name.removeprefix("cross_").partition("_")
        if not name.startswith("cross_") or kind == "maps":
            continue
        base = "replace" if kind == "reweight" else kind
        prompts = case.prompts(base)
        source, target = prior.embed(prompts[:1]), prior.embed(prompts[1:])
        method = P2P(compat="authors", **_windows(hyper["cross_replace_steps"]))
        weighs = kind == "reweight" or reweighted
        words = _equalizer(hyper, f"equalizer_words_{base}") if weighs else {}
        inject = Inject(
            (TARGET, SOURCE),
            align(kind, source, target, published=True),
            factors(target.take([0]), words).expand(len(target), -1),
            method._window(target, levels),
        )
        case.close(
            name, _edited(case["cross_maps"], hyper, levels, lambda m, now, e=inject: e(CROSS, m, now))
        )
    share = hyper["self_replace_steps"]
    window = Window.of(levels[:-1], *((0.0, share) if isinstance(share, float) else share))
    follow = Borrow(lambda site: True, "qk", [(TARGET, SOURCE)], window)
    borrowed = _edited(
        case["self_maps"], hyper, levels, lambda m, now: follow(m, now) if follow.open(now) else m
    )
    case.close("self_edited", borrowed)


def _edited(maps: Tensor, hyper: Mapping[str, Any], levels: Sequence[float], edit: Any) -> Tensor:
    """The maps (steps, 2 prompts heads, p, n) of all steps after an edit."""
    made = []
    for t, step in zip(levels, maps, strict=False):
        rows = step.unflatten(0, (-1, hyper["heads"]))
        targets = len(rows) // 2 - 1
        names: list[Row] = [(r, side) for side in ("null", "text") for r in ("source", *["target"] * targets)]
        now = Now(torch.full((len(rows),), t), torch.full((len(rows),), t), tuple(names), (1, 1))
        made.append(edit(rows, now).flatten(0, 1))
    return torch.stack(made)


def p2p(case: Case, **settings: Any) -> P2P:
    """The method with the values of a case."""
    hyper = case.hyper
    kind = hyper["controller"].removesuffix("_reweight")
    share = hyper["self_replace_steps"]
    start, end = share if isinstance(share, list) else (0.0, share)
    factors = ", ".join(f"{word}={value}" for word, value in _equalizer(hyper).items())
    side = _latent_side(case)
    return P2P(
        edit=kind,
        steps=hyper["num_steps"],
        guidance=hyper["guidance_scale"],
        self_start=start,
        self_end=end,
        self_stride=max(1, -(-side // hyper["self_attention_limit"])),
        reweight=factors,
        compat="authors",
        **_windows(hyper["cross_replace_steps"]),
        **_blend(hyper.get("local_blend"), side),
        **settings,
    )


def _latent_side(case: Case) -> int:
    return next(x.shape[-1] for name, x in case.tensors.items() if name.startswith("latents"))


def _blend(said: Mapping[str, Any] | None, side: int) -> dict[str, Any]:
    if said is None:
        return {}
    without = said["subtract_words"] or [[]] * len(said["words"])
    regions = [
        " ".join([*_list(words), *(f"-{word}" for word in _list(minus))])
        for words, minus in zip(said["words"], without, strict=True)
    ]
    keep, minus = said["threshold"]
    return {
        "blend": " | ".join(regions),
        "blend_start": said["start_blend"],
        "blend_threshold": keep,
        "blend_minus_threshold": minus,
        "blend_stride": side // said["map_resolution"],
    }


def _list(words: str | Sequence[str]) -> Sequence[str]:
    return [words] if isinstance(words, str) else words


class Branches:
    """Watches a run: the states of all rows before each step and at the end, and what was blended."""

    def __init__(self, prior: Any):
        self._calls, self._ends = listen(prior), list[Tensor]()
        self.before: list[Tensor] = []
        self.masks: list[Tensor] = []
        decode = prior.decode

        def decoding(latent: Tensor) -> Tensor:
            self._ends.append(latent)
            return decode(latent)

        prior.decode = decoding

    def states(self, steps: int) -> Tensor:
        """(steps + 1, rows, c, h, w), the source's first; of a run that keeps the source."""
        last = torch.cat(self._ends)
        return torch.stack([*(x[-len(last) :] for x, _ in self._calls[-steps:]), last])

    @contextmanager
    def blending(self) -> Iterator[None]:
        blend = LocalBlend.__call__

        def watched(local: LocalBlend, x: Tensor, t: float) -> Tensor:
            self.before.append(x)
            if bool(local.window.at(t)):
                self.masks.append(local.mask((x.shape[-2], x.shape[-1])))
            return blend(local, x, t)

        with patch.object(LocalBlend, "__call__", watched):
            yield


@torch.no_grad()
def _sampling(case: Case) -> None:
    prior, prompts = tiny_sd(case), case.prompts("prompts")
    method, branches = p2p(case), Branches(prior)
    tables(case, prior, method, prompts)
    side = 8 * _latent_side(case)
    request = EditRequest(
        size=(side, side),
        source=prompts[0],
        target=prompts[1:],
        noise=Tape([case["latents_T"]]),
        keep=("source",),
    )
    with branches.blending():
        edit = method(prior, request)
    case.close("trajectory", branches.states(method.steps))
    case.close("latents_0", branches.states(method.steps)[-1])
    if "image" in case:
        case.close("image", edit.raw[-1:])
    if method.blend:
        case.close("latents_before_blend", torch.stack(branches.before))
        case.close("masks", torch.stack(branches.masks))


def tables(case: Case, prior: Any, method: P2P, prompts: Sequence[str]) -> None:
    """The texts, the grid, and what the method makes of the words."""
    case.close("text_embeddings", prior.embed(prompts).tokens, 1e-5)
    same(prior.embed(prompts).ids, case["token_ids"], "token_ids")
    case.close("negative_embeddings", prior.embed([""]).tokens, 1e-5)
    pairs = prior.schedule.grid(method.steps)
    same(torch.tensor([t for t, _ in pairs]), case["timesteps"], "timesteps")
    source, target = prior.embed(prompts[:1]), prior.embed(prompts[1:])
    if "gates" in case:
        case.close("gates", _method_gates(method, target, [*(t for t, _ in pairs), -math.inf]))
    if "mapper" in case:
        kind: Any = method.edit
        made = align(kind, source, target, published=True)
        _compare_alignment(case, made, "mapper", "mapper_alphas" if "mapper_alphas" in case else None)
    if "equalizer" in case:
        case.close("equalizer", method._factors(target)[0])
