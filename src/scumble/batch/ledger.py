"""The ledger of a batch: one line of JSON per attempt, appended after its file is in place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from scumble.core.atomic import atomic
from scumble.core.errors import InputError, MachineError

if TYPE_CHECKING:
    from scumble.batch.rows import Row

RESULTS, TABLE = "results.jsonl", "results.parquet"
COLUMNS = {
    "row": "int64", "id": "string", "identity": "string", "output": "string", "sha256": "string",
    "evaluations": "int64", "seconds": "double", "changed": "double", "error": "string", "warning": "string",
    "manifest": "string",
}  # fmt: skip


class Record(TypedDict):
    """What came of a row. `seconds`: its share of the time of those that were made with it. `changed`: share of the
    picture. `error`: why there is no file. `manifest`: the name of the one that it stands in.
    """

    row: int
    id: str | None
    identity: str
    output: str
    sha256: str | None
    evaluations: int | None
    seconds: float | None
    changed: float | None
    error: str | None
    warning: str | None
    manifest: str


def failed(row: Row, manifest: str, error: str) -> Record:
    """The record of a row without a file."""
    return Record(
        row=row.number, id=row.id, identity=row.identity, output=row.output, sha256=None,
        evaluations=None, seconds=None, changed=None, error=error, warning=None, manifest=manifest,
    )  # fmt: skip


def made(
    row: Row, manifest: str, data: bytes, passport: Mapping[str, Any], warning: str | None = None
) -> Record:
    """The record of a row whose file holds `data`."""
    return Record(
        row=row.number, id=row.id, identity=row.identity, output=row.output,
        sha256=hashlib.sha256(data).hexdigest(), evaluations=passport["evaluations"],
        seconds=passport["seconds"], changed=passport["layer"]["changed"], error=None, warning=warning,
        manifest=manifest,
    )  # fmt: skip


class Ledger:
    """The records of a folder, the latest of every identity; `add` appends to the file, for good when it returns."""

    def __init__(self, folder: Path):
        self.path = folder / RESULTS
        self.records: dict[str, Record] = {}
        self._whole = 0  # bytes of whole lines; a killed run may have left a part of one
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        self._whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[: self._whole].splitlines(), 1):
            try:
                record = json.loads(line)
                self.records[record["identity"]] = Record(**{name: record[name] for name in COLUMNS})  # pyright: ignore[reportArgumentType]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{self.path} line {number}: not a record of a batch; choose another folder with -o"
                ) from error

    def add(self, records: Iterable[Record]) -> None:
        """Raises MachineError where the disk is full or fails."""
        some = list(records)
        text = "".join(json.dumps(record) + "\n" for record in some).encode()
        try:
            with self.path.open("r+b" if self.path.exists() else "xb") as file:
                file.truncate(self._whole)
                file.seek(self._whole)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MachineError(
                f"{self.path}: it could not be written ({error.strerror}); is there room left on the disk?"
            ) from error
        self._whole += len(text)
        self.records |= {record["identity"]: record for record in some}

    def by_output(self) -> dict[str, Record]:
        """The latest record of every file that was made."""
        return {record["output"]: record for record in self.records.values() if record["error"] is None}


def write_table(folder: Path, records: Sequence[Record]) -> bool:
    """Write results.parquet, complete or not at all; False where pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return False
    kinds = {"int64": pyarrow.int64(), "string": pyarrow.string(), "double": pyarrow.float64()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    table = pyarrow.Table.from_pylist([dict(record) for record in records], schema)
    with atomic(folder / TABLE) as part:
        parquet.write_table(table, part)
    return True
