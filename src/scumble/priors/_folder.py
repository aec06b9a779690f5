"""A checkpoint folder in the diffusers layout: what it holds, what it is, and what is wrong with it.

Nothing here imports torch: configs and file names are judged before anything large is read or fetched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scumble.core.errors import InputError
from scumble.core.places import home

Config = Mapping[str, Any]

STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
PARTS: Mapping[str, Sequence[str]] = {"latent": ("unet", "vae", "text_encoder"), "pixel": ("unet",)}
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either set of files makes a tokenizer
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
CONVERT = (
    "save it again with safetensors, once and where that is safe: diffusers.DiffusionPipeline.from_pretrained(NAME, "
    "use_safetensors=False).save_pretrained(FOLDER); then name that folder"
)
SCOPE = (
    "that is not supported yet: scumble reads Stable Diffusion 1.x / 2.x shaped text-to-image checkpoints and "
    "unconditional pixel ones"
)


@dataclass(frozen=True)
class Folder:
    """A folder that exists; the name it was asked for by, which errors quote; the id that its card shows; the
    hub's commit, if it comes from there.
    """

    path: Path
    name: str
    id: str
    revision: str | None = None

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """Raises InputError unless `path` is a folder."""
        place = home(path)
        folder = cls(place, str(path), place.resolve().name)
        if not folder.path.is_dir():
            raise folder.error("there is no such folder or file", "check the path")
        return folder

    def licence(self) -> str | None:
        """What the README's front matter calls it, where there is one."""
        file = self.path / "README.md"
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        found = re.search(r"^license:\s*([^\n]+)", front[1], re.MULTILINE) if front else None
        return found[1].strip("\"' ") if found else None

    def error(self, wrong: str, remedy: str) -> InputError:
        return InputError(f"model '{self.name}': {wrong}; {remedy}.")

    def config(self, part: str) -> Config:
        """The part's JSON config. Raises InputError when it is missing or not JSON."""
        file = self.path / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
        if not file.is_file():
            parts = "unet/, scheduler/, vae/, text_encoder/ and tokenizer/"
            remedy = f"a checkpoint folder has {parts}; of a single .safetensors file name the file"
            raise self.error(f"{part}/{file.name} is missing", remedy)
        return self.json(file)

    def json(self, file: Path) -> Config:
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            wrong = f"{file.relative_to(self.path)} is not readable JSON ({error})"
            raise self.error(wrong, "download or save the checkpoint again") from error
        if not isinstance(read, dict):
            raise self.error(
                f"{file.relative_to(self.path)} is not a JSON object", "download or save it again"
            )
        return read

    def family(self) -> Literal["latent", "pixel"]:
        """What kind of checkpoint the configs describe. Raises InputError for one that we cannot drive."""
        if (self.path / "transformer").is_dir():
            raise self._refusal("its network is a transformer, as in Stable Diffusion 3 or FLUX")
        unet = self.config("unet")
        network = unet.get("_class_name")
        if network == "UNet2DModel":
            self._refuse_pixel(unet)
            return "pixel"
        if network != "UNet2DConditionModel":
            raise self._refusal(f"its network is a {network}")
        if (self.path / "text_encoder_2").is_dir() or unet.get("addition_embed_type") == "text_time":
            raise self._refusal("it is of the SDXL family (two text encoders)")
        vae, text = self.config("vae"), self.config("text_encoder")
        if vae.get("_class_name") != "AutoencoderKL":
            raise self._refusal(f"its codec is a {vae.get('_class_name')}, not an AutoencoderKL")
        if not str(text.get("model_type")).startswith("clip"):
            raise self._refusal(f"its text encoder is a {text.get('model_type')} model, not a CLIP one")
        refuse_unet(unet, vae, self._refusal)
        return "latent"

    def check(self) -> None:
        """Raises InputError unless every part of the family stands in the folder as safetensors."""
        family = self.family()
        self.config("scheduler")
        for part in PARTS[family]:
            self.config(part)
            self.variant(part)
        tokenizer = self.path / "tokenizer"
        if family == "latent" and not any(
            all((tokenizer / f).is_file() for f in files) for files in TOKENIZERS
        ):
            wrong = "tokenizer/ is missing (tokenizer.json, or vocab.json and merges.txt)"
            raise self.error(wrong, "download or save the whole checkpoint again")

    def variant(self, part: str) -> str | None:
        """None for plain weights, "fp16" if there are only half-precision ones; InputError for neither."""
        for variant in (None, "fp16"):
            if self._weights(part, variant):
                return variant
        found = sorted(f.name for f in (self.path / part).glob("*") if f.suffix in PICKLES)
        if found:
            wrong = f"{part}/ has pickled weights only ({found[0]}), and reading a pickle can run any code"
            raise self.error(wrong, CONVERT)
        wrong = f"{part}/{STEMS[part]}.safetensors is missing"
        raise self.error(wrong, "download or save the whole checkpoint again, as safetensors")

    def digest(self) -> str:
        """Hexadecimal sha256 over the names and contents of all files that decide what the model computes."""
        files = [f for part in PARTS[self.family()] for f in self._weights(part, self.variant(part))]
        files += [f for part in (*STEMS, "scheduler") for f in (self.path / part).glob("*config.json")]
        files += [f for f in (self.path / "tokenizer").glob("*") if f.is_file()]
        total = hashlib.sha256()
        for file in sorted(files):
            total.update(f"{file.relative_to(self.path).as_posix()}\0{_sha256(file)}\n".encode())
        return total.hexdigest()

    def _weights(self, part: str, variant: str | None) -> list[Path]:
        infix = rf"\.{variant}" if variant else ""
        name = re.compile(rf"{STEMS[part]}{infix}(-\d+-of-\d+)?\.safetensors")
        return sorted(f for f in (self.path / part).glob("*.safetensors") if name.fullmatch(f.name))

    def _refuse_pixel(self, unet: Config) -> None:
        """Raises InputError for a UNet2DModel on anything but pictures, or with more conditions than a time."""
        file = self.path / "model_index.json"
        index = self.json(file) if file.is_file() else {}
        codec = next(
            (part for part in ("vqvae", "vae", "movq") if part in index or (self.path / part).is_dir()), None
        )
        if codec:
            kind = index.get("_class_name", "a latent model")
            raise self._refusal(f"it paints latents of its {codec}/ without text ({kind})")
        if unet.get("in_channels", 3) != 3 or unet.get("out_channels", 3) not in (3, 6):
            channels = f"{unet.get('in_channels', 3)} channels and gives {unet.get('out_channels', 3)}"
            raise self._refusal(f"its network takes {channels}, and is none on pictures alone")
        for extra in ("class_embed_type", "num_class_embeds"):
            if unet.get(extra) is not None:
                raise self._refusal(f"its network wants a further condition ({extra} = {unet[extra]!r})")

    def _refusal(self, why: str) -> InputError:
        return self.error(why, SCOPE)


def refuse_unet(unet: Config, vae: Config, refusal: Any) -> None:
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


def _sha256(file: Path) -> str:
    blob = file.resolve().name
    if re.fullmatch("[0-9a-f]{64}", blob):  # the hub's cache stores a large file under its own sha256
        return blob
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
