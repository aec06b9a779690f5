"""Classifier guidance, SDG and Blended Diffusion: the methods, step by step; the other networks are closed forms."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.core.grids import pairs
from scumble.core.judges import Classifier, Embedder
from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods import sdg
from scumble.methods.blended_diffusion import BlendedDiffusion
from scumble.methods.classifier_guidance import ClassifierGuidance
from scumble.methods.sdg import SDG

from .case import Case
from .chains import Trail
from .models import kept, tiny_ddpm


class Stated:
    """A network that a case states by its formula."""

    id, hash, space, noisy = "stated", "", "pixels", True

    def check(self, prior: Any) -> None: ...


class StatedClassifier(Stated, Classifier):
    """log softmax(B tanh(A u + a t / 1000)), u the sums of 8 x 8 blocks over 8."""

    def __init__(self, case: Case):
        self.A, self.a, self.B = (case[f"classifier_{name}"] for name in "AaB")
        self.classes = tuple(map(str, range(len(self.B))))
        self.groups = (tuple(range(len(self.B))),)

    def log_prob(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        assert t is not None
        u = F.avg_pool2d(x, 8).flatten(1) * 8
        h = torch.tanh(u @ self.A.T + self.a * (t / 1000).to(x)[:, None])
        return F.log_softmax(h @ self.B.T, -1)


class StatedNoisyClip(Stated, Embedder):
    """Five maps tanh(W pooled - t / 2000), and the embedding tanh(P pooled + 0.3 t / 1000), as it is in the case."""

    def __init__(self, case: Case):
        self.P = case["enc_P"]
        self.W = [case[f"enc_W{s}"] for s in range(5)]
        self.text = case.get("text_embedding")

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        assert t is not None
        pooled = F.avg_pool2d((x + 1) / 2, 4).flatten(1)
        return F.normalize(torch.tanh(pooled @ self.P.T + 0.3 * (t / 1000).to(x)[:, None]), dim=-1)

    def embed_text(self, prompts: Any) -> Tensor:
        assert self.text is not None
        return F.normalize(self.text, dim=-1)

    def maps(self, x: Tensor, t: Tensor | None = None) -> tuple[Tensor, ...]:
        assert t is not None
        fade = 0.5 * (t / 1000).to(x)[:, None, None, None]
        pooled = [F.avg_pool2d((x + 1) / 2, 2**s) for s in range(5)]
        return tuple(
            torch.tanh(torch.einsum("dc,bchw->bdhw", W, y) - fade)
            for W, y in zip(self.W, pooled, strict=True)
        )


class Listening:
    """Mixed into a method: walks the case's grid, keeps the gradients and the predictions that the case records."""

    def __post_init__(self) -> None:
        super().__post_init__()  # pyright: ignore[reportAttributeAccessIssue]
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "trail", Trail())

    def of(self, case: Case) -> Any:
        object.__setattr__(self, "case", case)
        return self

    def _pairs(self, schedule: Any) -> Any:
        levels = kept(self.case, schedule.T)
        return pairs(levels[: len(levels) - self.case.hyper.get("skip_timesteps", 0)], schedule.clean)

    def gradient(self, *args: Any) -> Any:
        gradient = super().gradient(*args)  # pyright: ignore[reportAttributeAccessIssue]

        def listened(x_t: Tensor, p: Any, t: Tensor) -> Tensor:
            self.seen.append(gradient(x_t, p, t))
            return self.seen[-1]

        return listened

    def sample(self, *args: Any, each: Any = None, **more: Any) -> Tensor:
        def both(x_s: Tensor, p: Any, t: float, s: float) -> Tensor:
            return self.trail(x_s if each is None else each(x_s, p, t, s), p, t, s)

        return super().sample(*args, each=both, **more)  # pyright: ignore[reportAttributeAccessIssue]


def check_tables(case: Case, schedule: Any) -> None:
    levels = kept(case, schedule.T)
    assert len(levels) == case.hyper["num_steps"]
    case.close("alphas_cumprod", schedule.abar[levels], 1e-12)
    if "betas" in case:
        moves = pairs(levels, schedule.clean)
        betas = torch.cat([schedule.forward(s, t)[1].flatten() ** 2 for t, s in reversed(moves)])
        case.close("betas", betas, 1e-12)


def check_states(case: Case, method: Any, x0: str = "x0_traj") -> None:
    case.close("x_traj", torch.stack(method.trail.x))
    case.close(x0, torch.stack(method.trail.x0))


@dataclass(frozen=True, kw_only=True)
class ListeningClassifierGuidance(Listening, ClassifierGuidance):
    """Asks every row for a class of its own."""

    def _wanted(self, job: Any, classifier: Classifier) -> Tensor:
        return F.one_hot(self.case["y"], len(classifier.classes)).double()


@torch.no_grad()
def check_classifier_guidance(case: Case) -> None:
    prior, hyper = tiny_ddpm(case), case.hyper
    check_tables(case, prior.schedule)
    form = {"ddpm": "mean", "ddim": "score"}[hyper["sampler"]]
    method = ListeningClassifierGuidance(
        scale=hyper["classifier_scale"], form=form, variance=hyper["var_type"], clamp=hyper["clip_denoised"],
        eta=hyper.get("eta", 1.0),
    ).of(case)  # fmt: skip
    fresh = case.get("noise")
    fresh = (
        [] if fresh is None or not hyper.get("eta", 1.0) else fresh[:-1]
    )  # ours makes no draw at the clean level
    start = case["noise_start"] if "noise_start" in case else case["x_start"]
    draws = [start, *fresh]
    picture = (
        {"image": case["image"].expand(len(start), -1, -1, -1)} if "image" in case else {"size": (32, 32)}
    )
    request = EditRequest(noise=Tape(draws), given={"classifier": StatedClassifier(case)}, **picture)
    if "image" in case:
        case.close(
            "x_start", prior.schedule.mix(case["image"], start, kept(case, prior.schedule.T)[-1]), 1e-5
        )
    edit = method(prior, request)
    check_states(case, method)
    case.close("final", edit.raw)
    case.close("grad_first", method.seen[0])
    case.close("grad_last", method.seen[-1])


@dataclass(frozen=True, kw_only=True)
class ListeningSDG(Listening, SDG):
    def start(self, job: Any, z: Tensor, pairs: Any) -> Tensor:
        return self.case["x_start"]


@torch.no_grad()
def check_sdg(case: Case) -> None:
    (_losses if case.path.stem.startswith("guidance_losses") else _sdg)(case)


def _sdg(case: Case) -> None:
    prior, hyper = tiny_ddpm(case), case.hyper
    check_tables(case, prior.schedule)
    method = ListeningSDG(
        text_weight=hyper["text_weight"], image_weight=hyper["image_weight"], image_loss=hyper["image_loss"],
        variance=hyper["var_type"], clamp=hyper["clip_denoised"],
    ).of(case)  # fmt: skip
    fresh = case["noise"]
    draws = list[Tensor]()
    for k in range(len(fresh)):
        # The gradient is taken before the noise of the step is drawn; at the clean level ours draws none.
        draws += [case["noise_ref"][k]] if hyper["image_weight"] else []
        draws += [fresh[k]] if k < len(fresh) - 1 else []
    rows = fresh.shape[1]
    request = EditRequest(
        image=torch.zeros(rows, 3, 32, 32), noise=Tape(draws), given={"clip": StatedNoisyClip(case)},
        reference=case["ref_img"] if hyper["image_weight"] else None,
    )  # fmt: skip
    edit = method(prior, request)
    check_states(case, method)
    case.close("final", edit.raw)
    case.close("guidance", torch.stack(method.seen))


def _losses(case: Case) -> None:
    ours = [case[f"in_source_{k}"].requires_grad_() for k in range(6)]
    theirs = [case[f"in_target_{k}"] for k in range(6)]
    with torch.enable_grad():
        for name, other in (("text", case["in_text"]), ("semantic", theirs[5])):
            score = (F.normalize(ours[5], dim=-1) * F.normalize(other, dim=-1)).sum(1)
            case.close(f"{name}_score", score)
            case.close(f"grad_{name}", torch.autograd.grad(score.sum(), ours[5])[0])
        style = sdg.style(ours[:5], theirs[:5])
        case.close("style_score", style.sum())
        for k, grad in enumerate(torch.autograd.grad(style.sum(), ours[:5])):
            case.close(f"grad_style_{k}", grad)
    case.unused("style_score_half")  # the released function in half precision


class StatedClip(Stated, Embedder):
    """tanh(P normalised pixels), of views that are pooled already."""

    noisy = False

    def __init__(self, case: Case):
        self.P, self.text = case["clip_P"], case["clip_text"]

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        mean, std = (
            x.new_tensor(values).reshape(3, 1, 1)
            for values in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
        )
        return F.normalize(torch.tanh((((x + 1) / 2 - mean) / std).flatten(1) @ self.P.T), dim=-1)

    def embed_text(self, prompts: Any) -> Tensor:
        return F.normalize(self.text, dim=-1)


@dataclass(frozen=True, kw_only=True)
class ListeningBlendedDiffusion(Listening, BlendedDiffusion):
    def views(self, job: Any, y: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(y, self.case.hyper["clip_size"])
        return torch.cat([pooled.roll(a, -1) for a in range(self.augmentations)])


@torch.no_grad()
def check_blended_diffusion(case: Case) -> None:
    prior, hyper = tiny_ddpm(case), case.hyper
    check_tables(case, prior.schedule)
    losses = hyper["background_preservation_loss"]
    rows = hyper["batch_size"]
    ddim = hyper["sampler"].startswith("ddim")
    method = ListeningBlendedDiffusion(
        form="score" if ddim else "mean", eta=0.0 if ddim else 1.0, variance=hyper["var_type"],
        clip_weight=hyper["clip_guidance_lambda"], range_weight=hyper["range_lambda"], augmentations=hyper["aug_num"],
        background="blend" if not hyper["local_clip_guided_diffusion"] else "losses",
        l2_weight=hyper["l2_sim_lambda"] if losses else 0.0,
        perceptual_weight=hyper["lpips_sim_lambda"] if losses else 0.0,
        compat="authors", clamp=hyper["clip_denoised"],
    ).of(case)  # fmt: skip
    draws, steps = [case["noise_start"]], len(case["noise"])
    for k in range(steps):
        draws += [case["noise"][k]] if not ddim and k < steps - 1 else []
        draws += [case["noise_background"][k]] if "noise_background" in case else []
    given = {"clip": StatedClip(case), "perceptual": lambda a, b: ((a - b).abs() ** 1.5).mean((1, 2, 3))}
    request = EditRequest(
        image=case["image"].expand(rows, -1, -1, -1),
        mask=case["mask"],
        target="",
        noise=Tape(draws),
        given=given,
    )
    edit = method(prior, request)
    check_states(case, method)
    case.close("guidance", torch.stack(method.seen))
    enforced = hyper["enforce_background"] and not hyper["local_clip_guided_diffusion"]
    case.close("final", (edit.image if enforced else edit.raw).clamp(-1, 1))
