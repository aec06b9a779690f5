"""One .safetensors file that holds a whole checkpoint, as A1111 and ComfyUI keep them, or a .gguf of its network.

Its weights bear the names of the original code. What a file does not say comes from the configs in this package, or,
of the newer families, from those in the folder that it lies in; parts that it does not hold, from that folder. What
it says about itself, its header, is judged before a tensor is read. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self

from scumble.core.errors import InputError
from scumble.core.places import home
from scumble.priors._conditions import Config
from scumble.priors._families import CLIP_TOKENIZER, FAMILIES, RELATIVES
from scumble.priors._folder import Folder, digest
from scumble.priors._foreign import GGUF
from scumble.priors._recognise import (
    KINDS,
    Shapes,
    beginning,
    kind_of,
    prediction_of,
    read_gguf_header,
    read_header,
    told,
)

CONFIGS = Path(str(resources.files("scumble.priors"))) / "configs"
COMPLETE = ("sd1", "sd2")  # kinds whose files always hold all parts
UNQUANTISED = "use the .safetensors version"
DAMAGE = "download it again"


@dataclass(frozen=True)
class SingleFile(Folder):
    """A single file that looks like a checkpoint of `kind`; its path is that kind's folder of configs."""

    file: Path = Path()
    kind: str = "sd1"
    shapes: Shapes = field(default_factory=dict[str, tuple[int, ...]])
    about: Mapping[str, str] = field(default_factory=dict[str, str])  # the header's own metadata
    prediction: str | None = None  # "epsilon" or "v_prediction", where it is known

    @classmethod
    def read(cls, path: str | Path, name: str | None = None) -> Self:
        """Raises InputError, which quotes `name`, unless `path` is a .safetensors file with a network, a codec and
        text encoders, or a .safetensors or .gguf file with a transformer of ours.
        """
        file = home(path)
        blank = cls(CONFIGS, name or str(path), file.stem, file=file)
        suffix = file.suffix.lower()
        if suffix not in (".safetensors", ".gguf"):
            wrong = f"a {file.suffix or 'nameless'} file may be a pickle, and reading one can run any code"
            raise blank.error(wrong, "use the .safetensors version of the checkpoint")
        try:
            shapes, about = (read_gguf_header if suffix == ".gguf" else read_header)(file)
        except ModuleNotFoundError as error:
            raise blank.error("reading it needs the package gguf", "pip install 'scumble[gguf]'") from error
        except Exception as error:  # a file can be damaged in any way
            wrong = f"is not a readable {suffix[1:]} file ({error})"
            raise blank.error(wrong, DAMAGE) from error
        if suffix == ".gguf" and any("input_blocks.0.0." in name for name in shapes):
            raise blank.error(f"it is a U-Net in GGUF, and {GGUF}", UNQUANTISED)
        try:
            kind = kind_of(shapes, blank.error)
            place = file.parent if KINDS[kind].within else CONFIGS / kind
            known = replace(blank, path=place, kind=kind, shapes=shapes, about=about)
            if kind not in COMPLETE and not known.within:
                known.config(known.kin.network)
        except InputError:
            raise
        except (KeyError, ValueError, IndexError) as error:
            raise blank.error(f"its network lacks layers ({error})", DAMAGE) from error
        return replace(known, prediction=prediction_of(file, about, shapes))

    @property
    def within(self) -> bool:
        """Whether the folder that it lies in has the configs, too."""
        return KINDS[self.kind].within

    @property
    def index(self) -> Config:
        """That of the folder where that has the configs: a base file is not distilled in a distilled one's either."""
        if not self.within:
            return {}
        said = super().index
        return {**said, "is_distilled": False} if re.search("(?<![a-z])base(?![a-z])", self._names) else said

    @property
    def quantised(self) -> bool:
        """Whether it is a .gguf."""
        return self.file.suffix.lower() == ".gguf"

    def family(self) -> str:
        return KINDS[self.kind].family

    def outside(self) -> list[str]:
        """The parts that are read from the folder beside the file."""
        return [part for part in self.parts if beginning(self.kind, part, self.shapes) is None]

    @property
    def beside(self) -> Folder:
        """The folder that the file lies in."""
        return Folder(self.file.parent, self.name, self.id)

    def _present(self, family: str) -> list[str]:
        """All parts but optional ones that are neither in the file nor beside it."""
        known = FAMILIES[family]
        return [
            part
            for part in known.parts
            if part not in known.optional
            or beginning(self.kind, part, self.shapes) is not None
            or (self.file.parent / part / "config.json").is_file()
        ]

    def check(self) -> None:
        """Raises InputError for parts that are neither in the file nor beside it, and for relatives of its family.

        Loading looks at the weights.
        """
        if self.kind in COMPLETE:
            return
        if said := self._relative():
            raise self._refusal(f"by its name it is {said}")
        outside = self.outside()
        configs = [*outside, *([self.kin.network] if self.within else [])]
        absent = [part for part in configs if not (self.file.parent / part / "config.json").is_file()]
        if self.within and not (self.file.parent / "scheduler/scheduler_config.json").is_file():
            absent += ["scheduler"]
        # CLIP's vocabulary is packaged, T5's is not.
        readers = [name for name in self.tokenizers if self.kin.tokenizers[name] != CLIP_TOKENIZER]
        absent += [name for name in readers if not (self.file.parent / name).is_dir()]
        if absent:
            wrong = f"it holds no {', '.join(absent)}, and the folder that it lies in has none of that name either"
            remedy = f"put the file into a folder of {self.kin.title} with these parts, and name it there"
            if self.within:
                remedy += "; of transformer/ its config.json alone is read"
            raise self.error(wrong, remedy)
        for part in outside:
            self.beside.check_part(part)
        for name in readers:
            self.beside.check_tokenizer(name, self.kin.tokenizers[name])
        if self.within and (name := self.config(self.kin.network).get("_class_name")) != self._class:
            raise self.error(
                f"it is a {self._class}, and the folder that it lies in has a {name}",
                f"put it into a folder of {self.kin.title}",
            )
        self._refuse_parts(self.family())

    @property
    def _class(self) -> str:
        """The class of its network."""
        return self.kin.parts[self.kin.network].partition(":")[2]

    @property
    def _names(self) -> str:
        """What it is called, in lower case."""
        titles = (self.about.get(f"modelspec.{key}", "") for key in ("title", "architecture"))
        return " ".join([self.file.stem, *titles]).lower()

    def _relative(self) -> str | None:
        """A relative of its family that its name tells, and its tensors do not."""
        if self.kind == "flux" and "kontext" in self._names:
            return "FLUX Kontext, which is shown the picture beside the noise"
        if self.kind == "qwen" and re.search("(?<![a-z])(edit|layered)(?![a-z])", self._names):
            return RELATIVES[
                "QwenImageLayeredPipeline" if "layered" in self._names else "QwenImageEditPipeline"
            ]
        return None

    def config(self, part: str) -> Config:
        if self.within or (self.kind not in COMPLETE and part in self.outside()):
            return self.beside.config(part)
        config = {**super().config(part), **told(self.kind, part, self.shapes)}
        if part == "scheduler":
            return {**config, **self._scheduler()}
        if part == "unet" and self.kind == "sd2" and self.prediction == "epsilon":  # the 512 px base model
            return {**config, "sample_size": 64}
        return config

    def _scheduler(self) -> Config:
        """What the file says of its noise and grid."""
        if self.kind == "flux":
            dev = self.config("transformer")["guidance_embeds"]
            return {} if dev else {"use_dynamic_shifting": False, "shift": 1.0}  # schnell
        said: dict[str, Any] = {"prediction_type": self.prediction} if self.prediction else {}
        return said | ({"rescale_betas_zero_snr": True} if "ztsnr" in self.shapes else {})

    def digest(self) -> str:
        """Hexadecimal sha256 of the file, the number by which model sites and other programs know it; with parts
        from beside it, of all together.
        """
        with self.file.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        files = [file for part in self.outside() for file in self.beside.files(part)]
        if self.within:
            files += [self.path / "scheduler/scheduler_config.json", self.path / "transformer/config.json"]
        return digest(self.file.parent, files, own) if files else own

    def licence(self) -> str | None:
        return self.about.get("modelspec.license")
