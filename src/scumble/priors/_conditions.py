"""What a network wants beside a noisy latent, a time and text: those that want more are refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Config = Mapping[str, Any]
Refusal = Callable[[str], Exception]  # what is wrong -> the error that says so


def refuse_network(family: str, configs: Mapping[str, Any], refusal: Refusal) -> None:
    """Raises `refusal(why)` for a network of the family that wants more than a noisy latent, a time and text."""
    vae = configs["vae"]
    if family == "latent":
        refuse_unet(configs["unet"], vae, refusal)
    elif family == "sdxl":
        _refuse_sdxl(configs["unet"], configs["text_encoder_2"], vae, refusal)
    elif family in ("sd3", "pixart", "zimage", "sana") and configs["transformer"].get(
        "in_channels"
    ) != vae.get("latent_channels"):
        channels = configs["transformer"].get("in_channels")
        raise refusal(
            f"its network takes {channels} channels, not the {vae.get('latent_channels')} of a latent"
        )
    elif family == "sana" and configs["transformer"].get("guidance_embeds"):
        raise refusal("it is Sana-Sprint, which was distilled along another path than a straight one")
    elif family == "qwen":
        _refuse_qwen(configs["transformer"], vae, refusal)
    elif family in ("flux2", "klein"):
        channels, plain = configs["transformer"].get("in_channels", 128), 4 * vae.get("latent_channels", 32)
        if channels != plain:
            raise refusal(f"its network takes {channels} channels, not the {plain} of a patch")
    elif family == "flux":
        channels, plain = configs["transformer"].get("in_channels", 64), 4 * vae.get("latent_channels", 16)
        if channels != plain:
            kind = {2 * plain: "Control (depth or edges)", 6 * plain: "Fill (inpainting)"}.get(
                channels, "changed"
            )
            raise refusal(f"it is a {kind} FLUX: its network takes {channels} channels, not {plain}")


def _refuse_qwen(network: Config, vae: Config, refusal: Refusal) -> None:
    channels, plain = network.get("in_channels", 64), 4 * vae.get("z_dim", 16)
    if channels != plain:
        raise refusal(f"its network takes {channels} channels, not the {plain} of a patch")
    further = {
        "zero_cond_t": "it is a Qwen-Image-Edit, which is shown the picture beside the noise",
        "use_layer3d_rope": "it is a Qwen-Image-Layered, which paints layers",
        "use_additional_t_cond": "its network is told a further time",
        "guidance_embeds": "its network takes guidance as an input, which no published one does",
    }
    for key, why in further.items():
        if network.get(key):
            raise refusal(f"{why} ({key})")


def _refuse_sdxl(unet: Config, text: Config, vae: Config, refusal: Refusal) -> None:
    if vae.get("latents_mean") is not None:
        raise refusal("its codec centres its latents (latents_mean), as Playground 2.5 does")
    known = dict(unet)
    if known.pop("addition_embed_type", None) != "text_time":
        raise refusal("its network takes no size and pooled text, as SDXL's does")
    refuse_unet({**known, "addition_embed_type": None}, vae, refusal)
    # Size, crop and target size of the base; size, crop and score of the refiner.
    width = int(unet.get("addition_time_embed_dim") or 256)
    numbers, rest = divmod(
        int(unet.get("projection_class_embeddings_input_dim") or 0) - int(text.get("projection_dim") or 0),
        width,
    )
    if (numbers, rest) == (5, 0):
        raise refusal("it is the SDXL refiner, which finishes pictures of the base model: use the base")
    if (numbers, rest) != (6, 0):
        raise refusal(f"its network is told {numbers} numbers of the canvas, and SDXL's 6")


def refuse_unet(unet: Config, vae: Config, refusal: Refusal) -> None:
    """Raises `refusal(why)` for a network that wants more than a noisy latent, a time and text."""
    channels, latent = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latent:
        purpose = {9: " (an inpainting model)", 8: " (an image-conditioned model)", 5: " (a depth model)"}
        raise refusal(
            f"its network takes {channels} channels{purpose.get(channels, '')}, not the {latent} of a latent"
        )
    extras = (
        "addition_embed_type",
        "class_embed_type",
        "num_class_embeds",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
    )
    for extra in extras:
        if unet.get(extra) is not None:
            raise refusal(f"its network wants a further condition ({extra} = {unet[extra]!r})")
