"""DDS, SDS and SDEdit: the methods, against the authors' code and the img2img pipeline."""

from typing import Any

import torch
from torch import Tensor

from scumble.core.noise import Tape
from scumble.core.request import EditRequest
from scumble.methods.dds import DDS
from scumble.methods.sdedit import SDEdit
from scumble.methods.sds import SDS
from scumble.scores.dds import DDSScore
from scumble.scores.sds import SDSScore

from .case import Case, same
from .models import From, listen, tiny_ddpm, tiny_sd, unpasted


def picture(pixels: Tensor) -> Tensor:
    """(H, W, 3) or (b, H, W, 3) bytes -> an Image."""
    return pixels.reshape(-1, *pixels.shape[-3:]).permute(0, 3, 1, 2) / 127.5 - 1


def check_dds(case: Case) -> None:
    _distil(case, DDS, DDSScore)


def check_sds(case: Case) -> None:
    if "num_inference_steps" in case.hyper:
        _pds_repo(case)
    else:
        _distil(case, SDS, SDSScore)


def _texts(case: Case, prior: Any, rows: int) -> dict[str, Any]:
    """The texts of the branches; equal to the recorded ones."""
    prompts = {
        "source": case.prompts("source"),
        "target": case.prompts("target"),
        "null": case.prompts("negative", "negative_prompt", "null"),
    }
    texts = {name: prior.embed(given).expand(rows) for name, given in prompts.items()}
    for name, text in texts.items():
        if f"emb_{name}" in case:
            case.close(f"emb_{name}", text.tokens, 1e-5)
    return texts


@torch.no_grad()
def _distil(case: Case, Method: Any, Score: Any) -> None:
    """The whole trajectory of the method, and every step of it from the recorded state."""
    prior, hyper, z = tiny_sd(case), case.hyper, case["z"]
    n, b, _, H, W = z[1:].shape
    image = torch.zeros(b, 3, 128, 128)
    if "source_image" in case:
        image = picture(case["source_image"])
        case.close("z_source", prior.encode(image), 1e-5)
    prior.encode = lambda image, noise=None: case["z_source"]
    mask = case.get("mask")
    settings = {"guidance": hyper["guidance_scale"]}
    settings |= {"alpha_exp": hyper["alpha_exp"], "sigma_exp": hyper["sigma_exp"]}
    gain = hyper["loss_multiplier"] / (H * W)

    t, eps = case["t"], case["eps"]
    method = Method(
        steps=n, rate=hyper["lr"] * gain, t_low=hyper["t_low"], t_high=hyper["t_high_exclusive"], **settings
    )
    request = EditRequest(
        image=image,
        source=case.prompts("source"),
        target=case.prompts("target"),
        negative=case.prompts("negative", "negative_prompt", "null"),
        mask=mask,
        noise=Tape(draw for step in zip(t, eps, strict=True) for draw in step),
        given={"parametrization": From(z[0])},
        keep=("trajectory",),
    )
    edit = method(prior, request)
    case.close("z", torch.stack([z[0], *edit.kept["trajectory"]]))
    if "final_image" in case:
        pixels = ((edit.raw / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1)
        case.close("final_image", pixels.reshape(case["final_image"].shape), 1)

    texts = _texts(case, prior, b)
    if Score is SDSScore:
        del texts["source"]
    else:
        texts["reference"] = case["z_source"]
    score = Score(prior, **texts, **settings)
    grads = torch.stack([score(z[k], t[k], Tape([eps[k]])) for k in range(n)])
    grads = grads if mask is None else mask * grads
    error = case.rounded("param_grad")
    case.close("param_grad", gain * grads, error)
    steps = z[:-1] - hyper["lr"] * gain * grads
    allowed = max(10 * case.json["tolerance"]["single_step_max_abs"], hyper["lr"] * error)
    assert float((steps - z[1:]).abs().max()) <= allowed
    losses, squares = (z[:-1] * grads).sum((1, 2, 3, 4)) / (H * W), (grads**2).mean((1, 2, 3, 4))
    case.close("surrogate_loss", losses, error / gain * float(z.abs().sum((1, 2, 3, 4)).max()) / (H * W))
    case.close("grad_mean_square", squares, 2 * error / gain * float(grads.abs().mean((1, 2, 3, 4)).max()))


@torch.no_grad()
def _pds_repo(case: Case) -> None:
    """SDS weighted by 1 - abar, as the PDS repository evaluates it."""
    prior, hyper, x = tiny_sd(case), case.hyper, case["x_target"]
    n, b = x.shape[:2]
    texts = _texts(case, prior, b)
    score = SDSScore(
        prior, target=texts["target"], null=texts["null"], guidance=hyper["guidance_scale"], sigma_exp=2
    )
    case.unused("noise_prev", "x_source", "emb_source")
    t, noise = case["t"], case["noise"]
    grads = torch.stack([score(x[k], t[k], Tape([noise[k]])) for k in range(n)])
    error = case.rounded("grad")
    case.close("grad", grads, error)
    count = x[0].numel() if hyper["reduction"] == "mean" else 1
    losses = 0.5 * (grads**2).sum((1, 2, 3, 4)) / count / b
    case.close("loss", losses)
    case.close("dloss_dx", grads / count / b, error / count / b)


def check_sdedit(case: Case) -> None:
    (_img2img if "strength" in case.hyper else _strokes)(case)


@torch.no_grad()
def _img2img(case: Case) -> None:
    prior, hyper = tiny_sd(case), case.hyper
    image = picture(case["image"])
    prompts, negatives = case.prompts("prompt"), case.prompts("negative_prompt")
    case.close("text_embeddings", prior.embed(prompts).tokens, 1e-5)
    case.close("negative_embeddings", prior.embed(negatives).expand(len(prompts)).tokens, 1e-5)
    ids = torch.cat([prior.embed(given).expand(len(prompts)).ids for given in (prompts, negatives)])
    same(ids, case["token_ids"], "token_ids")
    clean = prior.encode(image, Tape([case["vae_noise"]]))
    case.close("latents_clean", clean)

    method = SDEdit(
        strength=hyper["strength"],
        steps=hyper["num_steps"],
        guidance=max(hyper["guidance_scale"], 1),
        eta=hyper["eta"],
        compat="img2img",
    )
    draws = [case["vae_noise"], case["noise"]]
    for name in sorted(case.tensors.keys() - {"vae_noise", "noise"}):
        if "noise" in name:  # the draws of eta > 0
            draws += case[name]
    calls, times = listen(prior), list[float]()
    request = EditRequest(
        image=image, target=prompts, negative=negatives, noise=Tape(draws), keep=("trajectory",)
    )
    edit = method(prior, request, lambda step: times.append(step.t))
    same(torch.tensor(times), case["timesteps"], "timesteps")
    case.close("latents_start", calls[0][0][-len(case["noise"]) :])
    case.close("trajectory", torch.stack(edit.kept["trajectory"]))
    case.close("latents_0", edit.latent)
    case.close("image_edit", edit.raw)


@torch.no_grad()
def _strokes(case: Case) -> None:
    """The authors' loop over every level below t, `sample_step` times; masked or with an all-open mask."""
    prior, hyper = tiny_ddpm(case), case.hyper
    t, K, every = hyper["t"], hyper["sample_step"], hyper["every"]
    image, keep = case["image"], case["mask_keep"]
    keep = keep if keep.ndim == 4 else keep[None]
    assert torch.equal(keep, keep[:, :1].expand_as(keep)), "the channels' masks differ"
    variance = {"fixedsmall": "fixed_small", "fixedlarge": "fixed_large"}[hyper["var_type"]]
    method = SDEdit(strength=t / hyper["T"], steps=hyper["T"], repeats=K, variance=variance, compat="authors")
    # A draw at the lowest level is recorded and unused: ours makes none there.
    e, z = case["noise_e"], case["noise_z"]
    noise = Tape(draw for k in range(K) for draw in [e[k], *z[k, : t - 1]])
    calls = listen(prior)
    mask = (keep[:, :1] != 1).float()
    with unpasted() as steps_out:
        edit = method(prior, EditRequest(image=image, mask=mask, noise=noise, keep=("trajectory",)))

    def recorded(every_step: list[Tensor]) -> Tensor:
        return torch.stack(every_step).unflatten(0, (K, t))[:, ::every]

    case.close("x_in", recorded([x for x, _ in calls]))
    case.close("y_out", recorded(steps_out))
    case.close("samples", torch.stack(edit.kept["trajectory"]).unflatten(0, (K, t))[:, -1])
    case.close("final", edit.latent)
