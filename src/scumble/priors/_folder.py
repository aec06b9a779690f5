"""A checkpoint folder in the diffusers layout: what it contains, what kind it is, and what is wrong with it.

Nothing here imports torch: configs and file names are checked before anything large is read or downloaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scumble.core.errors import InputError
from scumble.core.places import home
from scumble.priors._conditions import Config, refuse_network
from scumble.priors._families import (
    CLIP_TOKENIZER,
    FAMILIES,
    GEMMA_TOKENIZER,
    MISTRAL_TOKENIZER,
    NETWORKS,
    QWEN_TOKENIZER,
    RELATIVES,
    T5_TOKENIZER,
    TEXT_KINDS,
    Family,
)

TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # either set of files makes a tokenizer
VOCABULARIES: Mapping[str, Sequence[Sequence[str]]] = {
    CLIP_TOKENIZER: TOKENIZERS,
    QWEN_TOKENIZER: TOKENIZERS,
    MISTRAL_TOKENIZER: (("tokenizer.json",),),
    GEMMA_TOKENIZER: (("tokenizer.json",), ("tokenizer.model",)),
    T5_TOKENIZER: (("tokenizer.json",), ("spiece.model",)),  # with neither it loads, and knows four tokens
}
PICKLES = (".bin", ".ckpt", ".pt", ".pth")
CONVERT = (
    "save it again with safetensors, once and where that is safe: diffusers.DiffusionPipeline.from_pretrained(NAME, "
    "use_safetensors=False).save_pretrained(FOLDER); then name that folder"
)
SCOPE = (
    "that is not supported yet: scumble reads Stable Diffusion 1.x / 2.x, SDXL, SD3, FLUX.1, FLUX.2, PixArt, Sana, "
    "Qwen-Image and Z-Image text-to-image checkpoints and unconditional pixel ones"
)


@dataclass(frozen=True)
class Folder:
    """A folder that exists, with the name that it was requested by (for messages), the id for its card and, if it
    comes from the hub, the commit.
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
        """The licence in the README's front matter, if there is one."""
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
            read: Any = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            wrong = f"{file.relative_to(self.path)} is not readable JSON ({error})"
            raise self.error(wrong, "download or save the checkpoint again") from error
        if not isinstance(read, dict):
            raise self.error(
                f"{file.relative_to(self.path)} is not a JSON object", "download or save it again"
            )
        return cast(Config, read)

    @property
    def index(self) -> Config:
        """model_index.json; empty if there is none."""
        file = self.path / "model_index.json"
        return self.json(file) if file.is_file() else {}

    def family(self) -> str:
        """A name of FAMILIES. Raises InputError for a checkpoint that we cannot drive."""
        kind = str(self.index.get("_class_name"))
        if kind in RELATIVES:
            raise self._refusal(f"it is {RELATIVES[kind]}")
        if re.search("Inpaint|ControlNet|Upscale|Edit|InstructPix2Pix", kind):
            raise self._refusal(f"its pipeline, {kind}, shows the network more than noise and text")
        if (self.path / "transformer").is_dir():
            network = self.config("transformer").get("_class_name")
            family = NETWORKS.get(str(network))
            if family is None:
                raise self._refusal(f"its network is a {network}")
            if family == "flux2" and str(self.config("text_encoder").get("model_type")).startswith("qwen3"):
                family = "klein"
        else:
            network = self.config("unet").get("_class_name")
            if network == "UNet2DModel":
                self._refuse_pixel(self.config("unet"))
                return "pixel"
            if network != "UNet2DConditionModel":
                raise self._refusal(f"its network is a {network}")
            xl = self.config("unet").get("addition_embed_type") == "text_time"
            family = "sdxl" if xl or (self.path / "text_encoder_2").is_dir() else "latent"
        if family == "sdxl" and not (self.path / "text_encoder").is_dir():
            raise self._refusal(
                "it is the SDXL refiner, which finishes pictures of the base model: use the base"
            )
        self._refuse_parts(family)
        return family

    def _refuse_parts(self, family: str) -> None:
        """Raises InputError for configs of another kind than the family's."""
        configs = {part: self.config(part) for part in self._present(family)}
        codec = FAMILIES[family].parts["vae"].partition(":")[2]
        if configs["vae"].get("_class_name") != codec:
            raise self._refusal(f"its codec is a {configs['vae'].get('_class_name')}, not an {codec}")
        for part, place in FAMILIES[family].parts.items():
            if place not in TEXT_KINDS or part not in configs:
                continue
            kind, (wanted, name) = str(configs[part].get("model_type")), TEXT_KINDS[place]
            if not kind.startswith(wanted):
                where = "" if part == "text_encoder" else f" ({part}/)"
                raise self._refusal(f"its text encoder is a {kind} model{where}, not {name} one")
        refuse_network(family, configs, self._refusal)
        scheduler = self.path / "scheduler/scheduler_config.json"
        if family == "sdxl" and scheduler.is_file():
            name = str(self.json(scheduler).get("_class_name"))
            if name.startswith("EDM"):
                raise self._refusal(f"it is preconditioned for {name}, as Playground 2.5 is")

    def _present(self, family: str) -> list[str]:
        optional = FAMILIES[family].optional
        return [
            part for part in FAMILIES[family].parts if part not in optional or (self.path / part).is_dir()
        ]

    @property
    def kin(self) -> Family:
        """Its family."""
        return FAMILIES[self.family()]

    @property
    def parts(self) -> list[str]:
        """The folders that hold weights; optional ones where they are there."""
        return self._present(self.family())

    @property
    def tokenizers(self) -> list[str]:
        """The folders that hold vocabularies; the third text encoder's where that is there."""
        absent = self.kin.parts.keys() - set(self.parts)
        gone = {name.replace("text_encoder", "tokenizer") for name in absent}
        return [name for name in self.kin.tokenizers if name not in gone]

    def check(self) -> None:
        """Raises InputError unless every part of the family stands in the folder as safetensors."""
        self.config("scheduler")
        for part in self.parts:
            self.check_part(part)
        for name in self.tokenizers:
            self.check_tokenizer(name, self.kin.tokenizers[name])

    def check_tokenizer(self, name: str, place: str) -> None:
        """Raises InputError for a folder without the vocabulary that the class at `place` reads."""
        files, folder = VOCABULARIES[place], self.path / name
        if not any(all((folder / f).is_file() for f in each) for each in files):
            known = ", or ".join(" and ".join(each) for each in files)
            wrong = f"{name}/ has no vocabulary" if folder.is_dir() else f"{name}/ is missing"
            raise self.error(f"{wrong} ({known})", "download or save the whole checkpoint again")

    def check_part(self, part: str) -> None:
        """Raises InputError unless a part has a config and safetensors, all of them where it is cut into several,
        each to its end.
        """
        self.config(part)
        for file in self._weights(part, self.variant(part)):
            if wrong := cut_short(file):
                raise self.error(f"{part}/{file.name} {wrong}", "download it again")
            shard = re.search(r"-(\d+)-of-(\d+)\.safetensors$", file.name)
            for k in range(1, int(shard[2]) + 1) if shard else ():
                name = f"{file.name[: shard.start()]}-{k:05d}-of-{shard[2]}.safetensors" if shard else ""
                if not (self.path / part / name).is_file():
                    raise self.error(f"{part}/{name} is missing", "download the whole checkpoint again")

    def variant(self, part: str) -> str | None:
        """None for plain weights, "fp16" if there are only half-precision ones; InputError for neither."""
        for variant in (None, "fp16"):
            if self._weights(part, variant):
                return variant
        found = sorted(f.name for f in (self.path / part).glob("*") if f.suffix in PICKLES)
        if found:
            wrong = f"{part}/ has pickled weights only ({found[0]}), and reading a pickle can run any code"
            raise self.error(wrong, CONVERT)
        wrong = f"{part}/{stem(part)}.safetensors is missing"
        raise self.error(wrong, "download or save the whole checkpoint again, as safetensors")

    def digest(self) -> str:
        """Hexadecimal sha256 over the names and contents of all files that decide what the model computes."""
        configs = self.parts if self.family() != "pixel" else [*FAMILIES["latent"].parts]
        files = [f for part in self.parts for f in self._weights(part, self.variant(part))]
        files += [f for part in (*configs, "scheduler") for f in (self.path / part).glob("*config.json")]
        readers = self.tokenizers or ["tokenizer"]
        files += [f for name in readers for f in (self.path / name).glob("*") if f.is_file()]
        return digest(self.path, files)

    def files(self, part: str) -> list[Path]:
        """The weights and configs of a part."""
        return [*self._weights(part, self.variant(part)), *(self.path / part).glob("*config.json")]

    def _weights(self, part: str, variant: str | None) -> list[Path]:
        infix = rf"\.{variant}" if variant else ""
        name = re.compile(rf"{stem(part)}{infix}(-\d+-of-\d+)?\.safetensors")
        return sorted(f for f in (self.path / part).glob("*.safetensors") if name.fullmatch(f.name))

    def _refuse_pixel(self, unet: Config) -> None:
        """Raises InputError for a UNet2DModel on anything but pictures, or with more conditions than a time."""
        index = self.index
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


def cut_short(file: Path) -> str | None:
    """What is wrong with a .safetensors file whose download stopped; None for a whole one. Reads its header."""
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            return "is a pointer of Git LFS, not the weights (git lfs pull)"
        length = int.from_bytes(start, "little")
        there = file.stat().st_size
        try:
            header: Any = json.loads(stream.read(length)) if length <= there else None
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, LookupError, TypeError):
            return "has no readable header: its download stopped, or it is damaged"
    whole = 8 + length + max(ends, default=0)
    return f"ends after {there:,} of {whole:,} bytes: its download stopped" if there < whole else None


def stem(part: str) -> str:
    """The stem of the names of a part's weight files."""
    return "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"


def digest(root: Path, files: Iterable[Path], first: str = "") -> str:
    """sha256 over `first` and the names, from `root`, and contents of files, in hexadecimal."""
    total = hashlib.sha256(first.encode())
    for file in sorted(files):
        total.update(f"{file.relative_to(root).as_posix()}\0{_sha256(file)}\n".encode())
    return total.hexdigest()


def _sha256(file: Path) -> str:
    blob = file.resolve().name
    if re.fullmatch("[0-9a-f]{64}", blob):  # the hub's cache stores a large file under its own sha256
        return blob
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
