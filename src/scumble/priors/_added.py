"""A .safetensors file that is added to a checkpoint when it is loaded: found, named in passports, and read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scumble.core.errors import InputError
from scumble.core.places import home

ABSENT = "there is no such file; name one .safetensors file with --{}"


@dataclass(frozen=True)
class AddedFile:
    """A file that is added; `what` is the option that names it."""

    what: str
    file: Path
    sha256: str

    @classmethod
    def named(cls, what: str, path: str, absent: str = ABSENT, **more: Any) -> Self:
        """The file at `path`. Raises InputError, where there is none (`absent` says so) and for other kinds."""
        file = home(path)
        try:
            if file.is_dir():  # a folder of diffusers' with one codec in it
                inside = [*file.glob("*.safetensors"), *file.glob("vae/*.safetensors")]
                file = inside[0] if what == "vae" and len(inside) == 1 else file
            found = file.is_file()
        except (OSError, ValueError):  # a name that is too long, or has a NUL in it
            found = False
        if not found:
            raise InputError(f"{what} '{path}': {absent.format(what)}")
        if file.suffix.lower() != ".safetensors":
            raise InputError(
                f"{what} '{path}': only .safetensors files are read; reading others can run any code"
            )
        with file.open("rb") as stream:
            return cls(what, file, hashlib.file_digest(stream, "sha256").hexdigest(), **more)

    @property
    def passport(self) -> dict[str, object]:
        """What a result's passport says of it; no folders."""
        return {"name": self.file.name, "sha256": self.sha256}

    def error(self, wrong: str, remedy: str) -> InputError:
        return InputError(f"{self.what} '{self.file.name}': {wrong}; {remedy}.")

    def read(self) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Its tensors, and the texts of its header. Raises InputError for a file that is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            opened: Any = safe_open(self.file, "pt")  # its stubs say nothing
            with opened as stored:
                tensors: dict[str, Any] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                return tensors, stored.metadata() or {}
        except (SafetensorError, OSError, ValueError) as error:
            raise self.error(f"cannot be read ({error})", "download it again") from error
