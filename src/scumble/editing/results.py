"""Results as files: their names, their extra files, and how they are saved."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.atomic import Taken, claimed
from scumble.core.errors import InputError
from scumble.core.outputs import Inputs, trial
from scumble.core.places import exists

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.request import Edit, Step
    from scumble.editing.plan import Plan
    from scumble.pictures.reading import Picture

FRAMES = 40  # of a film, at most


@dataclass(frozen=True)
class Delivery:
    """Where results are saved, and with which extra files ("layer", "compare", "film")."""

    out: Path | None
    extras: tuple[str, ...] = ()
    overwrite: bool = False
    metadata: bool = True

    def paths(
        self,
        picture: Path,
        method: str,
        targets: Sequence[str],
        seeds: Sequence[int],
        claims: ExitStack | None = None,
    ) -> tuple[list[Path], list[Path]]:
        """The results' paths, one per target and seed, and the contact sheet's if there are several.

        `claims`: reserves a name that is chosen here against other runs, until it is closed.
        """
        if len(targets) * len(seeds) == 1:
            return [self.out or default(picture, method, claims=claims)], []
        folder = self.out or default(picture, method, suffix="", claims=claims)
        return [folder / name for name in names(targets, seeds)], [folder / "sheet.png"]

    def beside(self, path: Path) -> list[Path]:
        """The extra files of a result, in the order of `extras`."""
        suffixes = {"film": "gif"}
        return [path.with_name(f"{path.stem}.{extra}.{suffixes.get(extra, 'png')}") for extra in self.extras]

    def check(
        self, paths: Sequence[Path], picture: Picture | None, read: Iterable[str | Path], factor: int = 1
    ) -> None:
        """Raises InputError for paths that cannot be written; warns if the format is not exact.

        picture: the input, which decides the results' size and transparency; None without one. read: all files that
            are read, none of which may be replaced. factor: the results' size in the input's.
        """
        from scumble.pictures import reading, writing

        inputs = Inputs(read)
        if len(paths) > 1:
            check_folder(paths[0].parent)
            if paths[0].parent.suffix.lower() in reading.FORMATS:
                raise InputError(f"{paths[0].parent}: several results go to a folder; name one with -o")
        for path in paths if paths[0].parent.is_dir() or len(paths) == 1 else ():
            alpha, size = (picture.transparent, picture.size) if picture else (False, (0, 0))
            size = (size[0] * factor, size[1] * factor)
            writing.check_output(path, inputs, alpha=alpha, size=size, overwrite=self.overwrite)
            for beside in self.beside(path):
                writing.check_output(beside, inputs, overwrite=self.overwrite, also=[".gif"])
        if picture and paths[0].suffix.lower() in (".jpg", ".jpeg"):
            warnings.warn(
                f"{paths[0]}: JPEG changes every pixel slightly, so kept parts are not exactly the input's; "
                ".png and .webp keep them exact",
                stacklevel=2,
            )

    def check_passport(self, passport: Mapping[str, Any], path: Path) -> None:
        """Raises InputError for a passport that the file's format cannot hold."""
        from scumble.pictures import writing

        if self.metadata:
            writing.check_passport(passport, path)

    def save(self, path: Path, edit: Edit, plan: Plan, film: Film | None = None) -> list[Path]:
        """Write a result, completely or not at all, then its extra files. Returns their paths."""
        from scumble.pictures import sheets

        assert edit.picture is not None
        assert edit.layer is not None
        done = [self.write(edit.picture, path, edit.provenance if self.metadata else None)]
        for extra, beside in zip(self.extras, self.beside(done[0]), strict=True):
            if extra == "layer":
                done.append(self.write(edit.layer, beside))
            elif extra == "compare":
                words = (plan.recipe.source or "", plan.recipe.target or "")
                done.append(self.write(sheets.compare(plan.below().rgb, edit.picture, *words), beside))
            elif film:
                put = partial(sheets.film, film.frames, replace=self.overwrite)
                done.append(kept(beside, put))
        return done

    def write(self, picture: Image.Image, path: Path, passport: Mapping[str, Any] | None = None) -> Path:
        """Write one picture, under the next free name if another program has taken its name meanwhile."""
        from scumble.pictures import writing

        return kept(path, lambda free: writing.save(picture, free, passport, replace=self.overwrite))


# Names ---------------------------------------------------------------------------------------------------


def default(picture: Path, method: str, suffix: str = ".png", claims: ExitStack | None = None) -> Path:
    """IN.METHOD.png beside the input, or the first free name of IN.METHOD-2.png, ...

    With `claims`, no other run gets the name until `claims` is closed.
    """
    kind = re.sub(r"[^\w.-]", "-", method.rpartition(":")[2])
    for stem in _numbered(f"{picture.stem}.{kind}"):
        path = picture.with_name(f"{stem}{suffix}")
        if not path.exists() and (claims is None or _claims(path, claims)):
            return path
    raise AssertionError("there is always another number")


def _claims(path: Path, claims: ExitStack) -> bool:
    """Whether the name is free and now reserved for us."""
    try:
        with ExitStack() as mine:
            mine.enter_context(claimed(path))
            if path.exists():
                return False
            claims.push(mine.pop_all())
    except Taken:
        return False
    return True


def kept(path: Path, write: Callable[[Path], object]) -> Path:
    """The path that `write` wrote: `path`, or the first free of NAME-2, ... if a file exists that must stay."""
    for stem in _numbered(path.stem):
        free = path.with_name(f"{stem}{path.suffix}")
        try:
            write(free)
        except FileExistsError:
            continue
        if free != path:
            warnings.warn(
                f"{path}: another program has made such a file meanwhile; saved as {free}", stacklevel=3
            )
        return free
    raise AssertionError("there is always another number")


def names(targets: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """A file name for each target and seed, made of what differs: "a-blue-mug.seed-3.png"."""
    made: dict[str, None] = {}
    for target in targets:
        words = re.sub(r"\W+", "-", target).strip("-").lower()[:60] or "edit"
        stem = next(s for s in _numbered(words) if f"{s}{_seed(seeds, seeds[0])}.png" not in made)
        made |= dict.fromkeys(f"{stem}{_seed(seeds, seed)}.png" for seed in seeds)
    return list(made)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{k}" for k in count(2))


def _seed(seeds: Sequence[int], seed: int) -> str:
    return f".seed-{seed}" if len(seeds) > 1 else ""


def check_folder(folder: Path) -> None:
    """Raises InputError if the folder cannot be made, or is no folder: a trial tells."""
    there = next(p for p in [folder, *folder.absolute().parents] if exists(p))
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"{folder}: cannot be made in {there}; choose another with -o")
    try:
        trial(there / "trial")
        with suppress(FileNotFoundError):
            folder.lstat()  # fails for a name that the system cannot have
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{folder}: cannot be made ({reason}); choose another with -o") from error


def make_folder(folder: Path) -> None:
    """Make the folder. Raises InputError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with -o") from error


# Films ---------------------------------------------------------------------------------------------------


class Film:
    """An `on_step` that collects previews of an edit, few enough for a film."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self.frames = [self._small(plan.placed.picture.rgb)]

    def __call__(self, step: Step) -> None:
        if step.k % max(1, step.n // FRAMES) == 0 or step.k == step.n:
            self.frames.append(self._small(self._plan.show(step.preview())))

    @staticmethod
    def _small(picture: Image.Image) -> Image.Image:
        from scumble.pictures.sheets import panel

        return panel(picture, 256, 512)
