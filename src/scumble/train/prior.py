"""`scumble train prior scenes`: the built-in prior, from the scenes generator to a diffusers folder with its card."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scumble.core.errors import InputError
from scumble.priors._quiet import quiet
from scumble.scenes.world import VERSION

from .codec import CodecRecipe, DecoderRecipe, standardised, train_codec, train_decoder
from .data import SIDE
from .denoiser import SCHEDULER, TextToNoise, digest, train_denoiser
from .denoiser_recipe import DenoiserRecipe, recipe_of
from .place import check_world, whole
from .reading import ReadingRecipe, train_reading
from .run import averaged
from .tokenizer import new_tokenizer

PARTS = {
    "vae": ("diffusers", "AutoencoderKL"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "scheduler": ("diffusers", "DDIMScheduler"),
}
CODEC_SHARE, DECODER_SHARE, READING_SHARE = 0.2, 0.15, 0.04
"""Shares of the budget for the codec, for its decoder alone, and for the text encoder's reading."""

EARLIER = "earlier-"
"""How the names of logs begin that an earlier training left, once for each training since."""

DOMAIN = (
    "flat drawings of one or two coloured shapes (circle, square, triangle, star, heart, cross, diamond, ring), of any "
    "size and in any place, on a plain coloured, sky, brick or sand background, by day or at night"
)


@quiet()
def train_prior(
    out: Path,
    *,
    minutes: float = 120,
    from_: Path | None = None,
    keep_codec: bool = False,
    seed: int = 0,
    bank: int = DenoiserRecipe.bank,
    batch: int = DenoiserRecipe.batch,
    workers: int = 0,
    compiled: bool = False,
    recipe: DenoiserRecipe | None = None,
) -> Path:
    """Train the scenes prior and write it to the folder `out`; returns `out`.

    minutes: wall-clock budget; 20 % goes to the codec and 15 % to its decoder alone (none with keep_codec), 4 % to
    the text encoder's reading (none with from_). from_: a prior to continue from: its networks start this training,
    with a fresh optimiser; a codec with fewer latent channels is widened, and the denoiser then starts anew.
    keep_codec: take the codec of `from_` as it is. bank: most pictures that the denoiser has in memory. batch: pictures
    of a step of the denoiser. workers: processes that draw its pictures (0: this one); a GPU needs several. compiled:
    whether torch.compile makes the U-Net faster first. recipe: of the denoiser, instead of the usual one with `bank`,
    `batch` and `seed`; its minutes are what is left of the budget. Logs and checkpoints lie beside `out`, in `out` +
    ".log"; a run that was cut off continues from there, also with another budget, of which finished stages take none.

    Raises InputError for an occupied `out`, a missing `from_`, a budget that is not positive, a `.log` folder of
    another world, codec or recipe, and a bank that does not fit into memory.
    """
    if not minutes > 0:
        raise InputError(f"minutes: {minutes}; the budget must be positive")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out}: not an empty folder; choose a new one for the trained prior")
    if keep_codec and from_ is None:
        raise InputError("keep-codec: needs --from, the prior whose codec is kept")
    log = out.with_name(out.name + ".log")
    codec_done, reading_done = (log / "vae").exists(), (log / "text_encoder").exists()
    coding = 0 if keep_codec or codec_done else minutes
    codec_recipe = CodecRecipe(minutes=coding * CODEC_SHARE, seed=seed)
    decoder = DecoderRecipe(minutes=coding * DECODER_SHARE, seed=seed)
    read_by = from_ is not None or reading_done
    reading = ReadingRecipe(minutes=0 if read_by else minutes * READING_SHARE, seed=seed)
    left = minutes - codec_recipe.minutes - decoder.minutes - reading.minutes
    recipe = replace(recipe or DenoiserRecipe(seed=seed, bank=bank, batch=batch), minutes=left)
    codec, start = (None, None) if from_ is None else load_networks(from_, recipe)
    check_world(log)
    if keep_codec:
        _keep(codec, log)
    elif codec_done:  # cut off in a later stage
        codec = load_codec(log / "vae")
    else:
        if not (log / "vae_frozen").exists():
            codec = standardised(train_codec(codec_recipe, log, codec), seed + 7, min(bank, 2000))
            whole(log / "vae_frozen", codec.save_pretrained)
        codec = train_decoder(decoder, load_codec(log / "vae_frozen"), log)  # the latents stay what they are
        whole(log / "vae", codec.save_pretrained)
    assert codec is not None
    if start is None:
        start = TextToNoise(recipe)
        if not reading_done:
            whole(log / "text_encoder", train_reading(reading, start.text_encoder, log).save_pretrained)
        start.text_encoder = load_text_encoder(log / "text_encoder")
    networks = train_denoiser(codec, recipe, log, start.train(), workers=workers, compiled=compiled)
    how = recipes(codec_recipe, decoder, reading, recipe)
    write_prior(out, codec, networks, how if from_ is None else how | _earlier(from_, log), log)
    return out


def _keep(codec: Any, log: Path) -> None:
    """Note the codec of an earlier prior for snapshots. Raises InputError where the training has another one."""
    if not (log / "vae").exists():
        whole(log / "vae", codec.save_pretrained)
    elif digest(load_codec(log / "vae")) != digest(codec):
        raise InputError(
            f"{log}: that training has another codec than --from; name the prior that it began with, or train into "
            "another folder"
        )


def _earlier(from_: Path, log: Path) -> dict[str, object]:
    """What an earlier prior's folder says of how it was made; its logs are put beside those of this training."""
    for rows in from_.glob("*.jsonl"):
        again = (log / rows.name.replace(EARLIER, "")).exists()  # this training had that stage, too
        shutil.copy(rows, log / (f"{EARLIER}{rows.name}" if again else rows.name))
    told = from_ / "recipe.json"
    return {"earlier": json.loads(told.read_text())} if told.exists() else {}


@quiet()
def snapshot(log: Path, out: Path) -> Path:
    """The prior that an unfinished training would give now, from its last checkpoint; returns `out`.

    log: the run's folder of logs and checkpoints. Raises InputError where the denoiser has no checkpoint there, or
    where `out` is occupied.
    """
    checkpoint = log / "denoiser.resume.pt"
    if not checkpoint.exists():
        raise InputError(
            f"{log}: no {checkpoint.name} there; name the .log folder of a training in its last stage"
        )
    if not (log / "vae").exists():
        raise InputError(
            f"{log}: its codec is not there yet; run the training's own command again, which notes it"
        )
    if out.exists():
        raise InputError(f"{out}: exists; choose a new folder")
    recipe = recipe_of(checkpoint)
    networks = averaged(TextToNoise(recipe), checkpoint)
    how = recipes(CodecRecipe(), DecoderRecipe(), ReadingRecipe(), recipe)
    write_prior(out, load_codec(log / "vae"), networks, how, log)
    return out


def recipes(*stages: object) -> dict[str, object]:
    """What the card says of how a prior was made."""
    named = zip(("codec", "decoder", "reading", "denoiser"), stages, strict=True)
    return {"world": VERSION, **{name: asdict(stage) for name, stage in named}}  # pyright: ignore[reportArgumentType]


GUIDED = (
    "dds",
    "ddim_inversion",
    "diffedit",
    "direct_inversion",
    "npi",
    "null_text",
    "pix2pix_zero",
    "sampling",
    "sds",
)
"""Methods that a card recommends its guidance for, and nothing else."""

METHOD = "dds_fast"
UPSCALER = "scenes-x2"
"""What edits where no method is named: on this prior it succeeds more often than DDS, preserves more, and asks an
eleventh of the evaluations (docs/methods/dds_fast.md). On others nobody has measured that."""


def recommended(guidance: float) -> dict[str, dict[str, float]]:
    """What a card recommends, method by method: its guidance, SDEdit in 50 steps of its SDE, self-attention at all
    strides of these small latents, and places of words on their finest maps, the only sharp ones.
    """
    everywhere = {"self_stride": 1, "self_end": 0.6, "blend_stride": 1, "blend_threshold": 0.5}
    found: dict[str, dict[str, float]] = {name: {"guidance": guidance} for name in GUIDED}
    found |= {
        "masactrl": {"guidance": guidance, "layer": 3},
        "p2p": {"guidance": guidance, **everywhere},
        "plug_and_play": {"guidance": guidance, "feature_block": 2},
        "blended_latent_diffusion": {"guidance": guidance},
        "ilvr": {"guidance": guidance, "steps": 50},
        "repaint": {"guidance": guidance, "steps": 50, "jump_length": 5, "jump_samples": 3},
        "sdedit": {"guidance": guidance, "steps": 50},
    }
    return dict(sorted(found.items()))


def load_networks(folder: Path, recipe: DenoiserRecipe) -> tuple[Any, TextToNoise]:
    """(AutoencoderKL, TextToNoise) of an earlier prior, float32. Raises InputError where the folder is not one."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    if not (folder / "model_index.json").exists():
        raise InputError(f"--from {folder}: no model_index.json there; name the folder of a trained prior")
    networks = TextToNoise(recipe)
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet").float().train()
    if unet.config.in_channels == recipe.latent_channels:
        networks.unet = unet
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float()
    vocabulary = CLIPTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
    _take_over(networks.text_encoder, encoder, vocabulary)
    return load_codec(folder / "vae"), networks


def _take_over(encoder: Any, earlier: Any, vocabulary: dict[str, int]) -> None:
    """Load an earlier text encoder's weights, each token's embedding into the row that its piece has today."""
    weights = earlier.state_dict()
    (key,) = (k for k in weights if k.endswith("token_embedding.weight"))
    rows = encoder.get_input_embeddings().weight.detach().clone()
    for piece, row in new_tokenizer().get_vocab().items():
        if piece in vocabulary:
            rows[row] = weights[key][vocabulary[piece]]
    encoder.load_state_dict({**weights, key: rows})


def load_text_encoder(folder: Path) -> Any:
    """The CLIPTextModel in a folder, float32."""
    from transformers import CLIPTextModel

    return CLIPTextModel.from_pretrained(folder).float()


def load_codec(folder: Path) -> Any:
    """The AutoencoderKL in a folder, float32."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL.from_pretrained(folder).float()


def write_prior(out: Path, codec: Any, networks: TextToNoise, recipe: dict[str, object], log: Path) -> None:
    """Write a diffusers folder in half precision with card.json and the logs; complete or not at all."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    from scumble.scenes import WORDS

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".prior-") as name:
        folder = Path(name) / "prior"
        folder.mkdir()
        codec.half().save_pretrained(folder / "vae")
        networks.unet.half().save_pretrained(folder / "unet")
        networks.text_encoder.half().save_pretrained(folder / "text_encoder")
        for part in ("vae", "unet"):
            _forget_origin(folder / part / "config.json")
        new_tokenizer().save_pretrained(folder / "tokenizer")
        DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
        index = {"_class_name": "StableDiffusionPipeline", **PARTS, "requires_safety_checker": False}
        index |= dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"), (None, None))
        _dump(folder / "model_index.json", index)
        card = {
            "id": "scenes",
            "domain": DOMAIN,
            "words": sorted(WORDS),
            "size": SIDE,
            "multiple": SIDE,
            "licence": "Apache-2.0",
            "method": METHOD,
            "upscaler": UPSCALER,
            "recommended": recommended(3.0),
            "capabilities": ["text", "gradient", "control"],
        }
        _dump(folder / "card.json", card)
        _dump(folder / "recipe.json", recipe)
        for rows in log.glob("*.jsonl"):
            shutil.copy(rows, folder / rows.name)
        if out.exists():
            out.rmdir()
        folder.replace(out)


def _forget_origin(path: Path) -> None:
    """Take the folder that networks were loaded from, somebody's own, out of a config."""
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    _dump(path, config)


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
