"""One .safetensors file that holds a whole checkpoint, as A1111 and ComfyUI keep them: what it is, how it is read.

Its weights bear the names of the original code (Rombach et al. 2022); diffusers' own converters rename them. What
a file does not say, the shapes of its family's parts, comes from the configs in this package; what it says about
itself, from its header, which is judged before a tensor is read. Nothing here imports torch until it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

from scumble.core.errors import InputError
from scumble.core.places import home
from scumble.priors._conditions import Config, refuse_unet
from scumble.priors._folder import SCOPE, Folder
from scumble.priors._foreign import FOLDERS_ONLY, foreign

CONFIGS = Path(str(resources.files("scumble.priors"))) / "configs"
NETWORK, CODEC = "model.diffusion_model.", "first_stage_model."
TEXT = {"sd1": "cond_stage_model.transformer.", "sd2": "cond_stage_model.model."}  # CLIP's, OpenCLIP's
Weights = dict[str, Any]  # a tensor by its name
LONGEST_HEADER = 100_000_000  # bytes: the format's own limit


@dataclass(frozen=True)
class SingleFile(Folder):
    """A single file that looks like a checkpoint of `kind`; its path is that kind's folder of configs."""

    file: Path = Path()
    kind: str = "sd1"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)  # the header's own metadata
    prediction: str | None = None  # "epsilon" or "v_prediction", where it is known

    @classmethod
    def read(cls, path: str | Path, name: str | None = None) -> Self:
        """Raises InputError, which quotes `name`, unless `path` is a .safetensors file with a network, a codec and
        a text encoder.
        """
        file = home(path)
        blank = cls(CONFIGS, name or str(path), file.stem, file=file)
        if file.suffix.lower() != ".safetensors":
            wrong = f"a {file.suffix or 'nameless'} file may be a pickle, and reading one can run any code"
            raise blank.error(wrong, "use the .safetensors version of the checkpoint")
        shapes, about = _header(blank)
        kind = _kind(blank, shapes)
        prediction = _prediction(file, about, shapes)
        return replace(
            blank, path=CONFIGS / kind, kind=kind, shapes=shapes, about=about, prediction=prediction
        )

    @property
    def index(self) -> Config:
        return {}

    def family(self) -> str:
        return "latent"

    def check(self) -> None:
        """Nothing is left to check: `read` has looked at the header, and loading looks at the weights."""

    def config(self, part: str) -> Config:
        config = super().config(part)
        if part == "scheduler" and self.prediction:
            return {**config, "prediction_type": self.prediction}
        if part == "unet" and self.kind == "sd2" and self.prediction == "epsilon":  # the 512 px base model
            return {**config, "sample_size": 64}
        return config

    def digest(self) -> str:
        """Hexadecimal sha256 of the file, the number by which model sites and other programs know it."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def licence(self) -> str | None:
        return self.about.get("modelspec.license")


def _header(file: SingleFile) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Every tensor's shape by name, and the metadata. Raises InputError where the header cannot be read."""
    try:
        with file.file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LONGEST_HEADER:
                raise ValueError("its first bytes are no header")
            read = json.loads(stream.read(length))
        about = read.pop("__metadata__", None) or {}
        return {name: tuple(entry["shape"]) for name, entry in read.items()}, about
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise file.error(f"is not a readable safetensors file ({error})", "download it again") from error


def _kind(file: SingleFile, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """ "sd1" or "sd2", by the text encoder. Raises InputError, with what the file is instead, for any other."""
    first = shapes.get(f"{NETWORK}input_blocks.0.0.weight")
    if what := foreign(shapes, network=first is not None):
        raise InputError(f"model '{file.name}': {what}.")
    if first is None:
        raise file.error("it holds no Stable Diffusion network", SCOPE)
    refuse_unet({"in_channels": first[1]}, {}, lambda why: file.error(why, SCOPE))
    if any(name.startswith(f"{NETWORK}label_emb.") for name in shapes):
        raise file.error("its network wants a further condition, as in the SDXL family", FOLDERS_ONLY)
    kinds = [kind for kind, prefix in TEXT.items() if any(name.startswith(prefix) for name in shapes)]
    parts = {"text encoder": bool(kinds), "codec (VAE)": any(name.startswith(CODEC) for name in shapes)}
    for part, there in parts.items():
        if not there:
            raise file.error(
                f"it holds a network but no {part}", "use the version of the file with all three"
            )
    return kinds[0]


def _prediction(file: Path, about: Mapping[str, str], shapes: Iterable[str]) -> str | None:
    """What the network predicts, by the header (ModelSpec), an empty tensor "v_pred" (a habit of ComfyUI) or the
    .yaml beside the file; None: nobody says.
    """
    if "v_pred" in shapes:
        return "v_prediction"
    words = f"{about.get('modelspec.prediction_type', '')} {about.get('modelspec.architecture', '')}"
    yaml = file.with_suffix(".yaml")
    if yaml.is_file():
        found = re.search(r"parameterization\W+(\w+)", yaml.read_text(encoding="utf-8", errors="replace"))
        words += f" {found[1] if found else 'epsilon'}"
    if re.search(r"\bv(_prediction)?\b", words.replace("-", " ")):
        return "v_prediction"
    return "epsilon" if re.search(r"\beps|\b512\b", words) else None


def load_modules(file: SingleFile, device: Any, dtype: Any) -> tuple[dict[str, Any], SingleFile]:
    """unet, vae and text_encoder in `dtype`, and the file with what loading found out about it.

    Where the file does not say what its network predicts, the network is asked on the device, in float32: half
    precision is slow on a CPU and can overflow. Raises InputError for weights that are missing or have another
    shape than the family's, and for a network that answers with no numbers.
    """
    from diffusers.loaders import single_file_utils as convert
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    def unet(module: Any, weights: Weights) -> Weights:
        return convert.convert_ldm_unet_checkpoint(weights, module.config)

    def vae(module: Any, weights: Weights) -> Weights:
        return convert.convert_ldm_vae_checkpoint(weights, module.config)

    def text(module: Any, weights: Weights) -> Weights:
        if file.kind == "sd1":
            renamed = convert.convert_ldm_clip_checkpoint(weights)
        else:
            renamed = convert.convert_open_clip_checkpoint(module, weights, prefix=TEXT["sd2"])
        return {name.removeprefix("text_model."): weight for name, weight in renamed.items()}

    def encoder(config: Config) -> Any:
        return CLIPTextModel(CLIPTextConfig(**config))

    modules = {
        "unet": _filled(file, "unet", UNet2DConditionModel.from_config, NETWORK, unet, dtype),
        "vae": _filled(file, "vae", AutoencoderKL.from_config, CODEC, vae, dtype),
        "text_encoder": _filled(file, "text_encoder", encoder, TEXT[file.kind], text, dtype),
    }
    if file.prediction is None:
        import torch

        agreement = echo(modules["unet"].to(device, torch.float32))
        if not math.isfinite(agreement):
            raise file.error("its network returns values that are not numbers (NaN)", "download it again")
        modules["unet"].to(device, dtype)  # as it was: float32 holds every half-precision number
        file = replace(file, prediction="epsilon" if agreement > 0.5 else "v_prediction")
    return modules, file


def _filled(
    file: SingleFile,
    part: str,
    make: Callable[[Any], Any],
    prefix: str,
    rename: Callable[[Any, Weights], Weights],
    dtype: Any,
) -> Any:
    """The module of a part, with the weights that begin with `prefix` under their new names."""
    from accelerate import init_empty_weights
    from safetensors import safe_open

    with init_empty_weights():
        module = make(dict(file.config(part)))
    wanted = set(module.state_dict())
    try:
        with safe_open(file.file, "pt") as stored:
            ours = {name: stored.get_tensor(name) for name in file.shapes if name.startswith(prefix)}
        # Copied out of the mapped file, where they lie unaligned: other kernels would round other last bits.
        weights = {n: w.to(dtype, copy=True) for n, w in rename(module, ours).items() if n in wanted}
        module.load_state_dict(weights, strict=False, assign=True)
    except Exception as error:  # a file that lies about itself can fail anywhere in the renaming
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        wrong = f"its {part} cannot be read as {file.kind.upper()} ({reason})"
        raise file.error(wrong, "download it again, or use another checkpoint") from error
    absent = sorted(wanted - set(weights))
    if absent:
        wrong = f"its {part} lacks {len(absent)} of its weights ({absent[0]}, ...)"
        raise file.error(wrong, "download it again")
    return module


def echo(unet: Any) -> float:
    """How far the output of a network at the last time, where all is noise, repeats its input: the correlation.

    One that predicts eps does: near 1. v = alpha eps - sigma x0 there is close to -x0, which has nothing to do
    with the noise: near 0. NaN where the network overflows.
    """
    import torch

    from scumble.core.noise import Noise

    config = unet.config
    x = Noise(0).like(torch.empty(1, config["in_channels"], 32, 32, device=unet.device, dtype=torch.float32))
    tokens = torch.zeros(1, 77, config["cross_attention_dim"], device=x.device, dtype=torch.float32)
    with torch.no_grad():
        out = unet(x, torch.tensor([999], device=x.device), tokens, return_dict=False)[0].float()
    return torch.corrcoef(torch.stack([x.flatten(), out.flatten()]))[0, 1].item()
