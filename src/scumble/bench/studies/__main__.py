"""`python -m scumble.bench.studies NAME [FLAGS]` runs a study; without a name it lists them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent


def main(words: Sequence[str]) -> None:
    names = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    name, *flags = words or ("",)
    if name in names:
        import_module(f"scumble.bench.studies.{name}").main(flags)
        return
    if name:
        print(f"{name}: there is no such study; known are {', '.join(names)}", file=sys.stderr)
        sys.exit(2)
    for each in names:
        docstring = ast.get_docstring(ast.parse((FOLDER / f"{each}.py").read_text(encoding="utf-8"))) or ""
        print(f"{each:16}{docstring.splitlines()[0]}")


if __name__ == "__main__":
    main(sys.argv[1:])
