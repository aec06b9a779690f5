"""From rows to tables: means over edits with intervals, paired differences, by kind and overall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scumble.bench.rows import TESTS, TableRow, read_rows
from scumble.bench.statistics import by_edit, difference, estimate
from scumble.bench.tables import FORMATS, Column, Table
from scumble.core.errors import InputError

JOINT, SUCCESS = Column("joint", "joint, %", 100), Column("success", "success, %", 100)
PRESERVED = Column("preserved", "preserved, dB")
COST = (Column("evaluations", "evaluations", digits=0), Column("seconds", "seconds", digits=2))
NOOP = Column("noop", "no-op error, steps", digits=2)
COLUMNS = (
    JOINT,
    SUCCESS,
    Column("found", "found, %", 100),
    Column("done", "done, %", 100),
    PRESERVED,
    Column("leaked", "leaked, %", 100),
    NOOP,
    Column("back", "there and back, dB"),
    Column("apart", "seed spread, steps"),
    *COST,
)
COMPARED = (JOINT, SUCCESS, PRESERVED)
SENTINELS = ("copy", "resample")
"""Nothing edited, nothing preserved: a score on which these do not rank last is no score."""

Values = Mapping[str, float]  # by edit


def report(paths: Sequence[Path], form: str = "md", against: str | None = None) -> str:
    """The tables of the bench's files.

    form: "md", "csv" or "latex". against: the method that the others are compared with; default: the first that is
    an editor.

    Raises:
        InputError: an unknown format or method, a file that is missing, empty or not of the bench.
    """
    if form not in FORMATS:
        raise InputError(f"--format {form}: known are {', '.join(FORMATS)}")
    methods = gather(paths)
    if against is not None and against not in methods:
        raise InputError(f"--against {against}: not among {', '.join(methods)}")
    against = against or next((m for m in methods if not _sentinel(m) and not m.startswith("ceiling")), None)
    tables = [overall(methods), *by_kind(methods), *differences(methods, against), *prior_part(methods)]
    return FORMATS[form]([table for table in tables if table.rows], notes(methods, paths))


def gather(paths: Sequence[Path]) -> dict[str, list[TableRow]]:
    """The rows of every method. If a method has other settings in another file, its name gets the file's name, too."""
    found: dict[str, list[TableRow]] = {}
    for path in paths:
        if path.name == TESTS and len(paths) > 1:  # as in FOLDER/*.jsonl
            continue
        rows = read_rows(path)
        label = rows[0]["method"]
        known = found.get(label)
        if known and any(known[0][key] != rows[0][key] for key in ("parameters", "bench")):
            label = f"{label} ({path.parent.name}/{path.name})"
        found.setdefault(label, []).extend(rows)
    return found


def value(row: TableRow, key: str) -> float | None:
    """A score of a row; None if it does not apply."""
    if key in ("evaluations", "seconds"):
        return row[key]
    if key == "noop":
        return row["scores"]["changed"] if row["kind"] == "noop" else None
    return row["scores"].get(key)


def values(rows: Iterable[TableRow], column: Column) -> Values:
    """A score by edit, no-ops apart, but for what a no-op is measured by."""
    everywhere = column in (NOOP, *COST)
    some = (row for row in rows if everywhere or row["kind"] != "noop")
    return by_edit((row["id"], value(row, column.key)) for row in some)


def overall(methods: Mapping[str, Sequence[TableRow]]) -> Table:
    """All scores of every method."""
    rows = [(m, [estimate(values(rows, column)) for column in COLUMNS]) for m, rows in methods.items()]
    return Table("Overall, no-ops apart", COLUMNS, rows)


def by_kind(methods: Mapping[str, Sequence[TableRow]]) -> list[Table]:
    """Joint score, success and preservation of every kind of edit."""
    kinds = list(dict.fromkeys(row["kind"] for rows in methods.values() for row in rows))
    if len(kinds) < 2:
        return []

    def table(column: Column, kinds: Sequence[str]) -> Table:
        columns = [Column(f"{column.key}.{kind}", kind, column.scale, column.digits) for kind in kinds]
        rows = [
            (m, [estimate(_of_kind(rows, kind, column.key)) for kind in kinds]) for m, rows in methods.items()
        ]
        return Table(f"By kind: {column.title}", columns, [row for row in rows if any(row[1])])

    edits = [kind for kind in kinds if kind != "noop"]
    return [table(JOINT, edits), table(SUCCESS, edits), table(PRESERVED, kinds)]


def _of_kind(rows: Iterable[TableRow], kind: str, key: str) -> Values:
    return by_edit((row["id"], value(row, key)) for row in rows if row["kind"] == kind)


def differences(methods: Mapping[str, Sequence[TableRow]], against: str | None) -> list[Table]:
    """Every method minus one, on the edits that both have made."""
    if against is None:
        return []
    others = [m for m in methods if m != against]
    found = [(m, _minus(methods[m], methods[against])) for m in others]
    return [Table(f"Paired differences to {against}", COMPARED, [row for row in found if any(row[1])])]


def prior_part(methods: Mapping[str, Sequence[TableRow]]) -> list[Table]:
    """The exact score minus the network, with the same method and edits: what better weights could still gain."""
    pairs = [(m, m.replace("+exact", "+reduced")) for m in methods if "+exact" in m]
    found = [(m, _minus(methods[m], methods[other])) for m, other in pairs if other in methods]
    return [Table("The prior's part: exact score minus network, same edits", COMPARED, found)]


def _minus(a: Sequence[TableRow], b: Sequence[TableRow]) -> list:
    return [difference(values(a, column), values(b, column)) for column in COMPARED]


def notes(methods: Mapping[str, Sequence[TableRow]], paths: Sequence[Path]) -> list[str]:
    """What the figures are based on: sets, models, versions, seeds, refusals, the reference rows, and measurements on
    the test split.
    """
    lines = ["mean [95 % interval]; an edit counts once, its seeds are averaged; n: edits, at most"]
    settings: dict[str, list[str]] = {}
    for method, rows in methods.items():
        words = ", ".join(f"{k} {v}" for k, v in rows[0]["bench"].items() if v is not None)
        seeds = len({row["repeat"] for row in rows})
        settings.setdefault(words, []).append(f"{method} ({seeds} seed{'s' if seeds > 1 else ''})")
    lines += [f"{words}: {', '.join(some)}" for words, some in settings.items()]
    lines += [line for method, rows in methods.items() for line in refusals(method, rows)]
    lines += [sentinels(methods)] if any(map(_sentinel, methods)) else []
    logs = {path.parent / TESTS for path in paths}
    looks = sum(len(log.read_text(encoding="utf-8").splitlines()) for log in logs if log.exists())
    return [*lines, f"the test split was measured on {looks} times ({TESTS})"] if looks else lines


def refusals(method: str, rows: Sequence[TableRow]) -> list[str]:
    """How many edits a method refused, with any seed, and the first message."""
    lines: list[str] = []
    for key, what in (("refused", "refused, which is no success"), ("refused_back", "not edited back")):
        some = [row for row in rows if row[key] is not None]
        count, of = (len({row["id"] for row in chosen}) for chosen in (some, rows))
        lines += [f"{method}: {count} of {of} edits {what}; the first: {some[0][key]}"] if some else []
    return lines


def sentinels(methods: Mapping[str, Sequence[TableRow]]) -> str:
    """Whether the rows that cannot be good rank below all others of their set on the joint score."""
    joint = {m: found.mean for m, rows in methods.items() if (found := estimate(values(rows, JOINT)))}
    pairs = [
        (s, m)
        for s in filter(_sentinel, joint)
        for m in joint
        if not _sentinel(m) and methods[s][0]["bench"] == methods[m][0]["bench"]
    ]
    above = [f"{s} is not below {m}" for s, m in pairs if joint[s] >= joint[m]]
    if above:
        return f"the joint score does not rank the sentinels last: {'; '.join(above)}"
    named = " and ".join(dict.fromkeys(s for s, _ in pairs))
    return f"on the joint score nothing ranks as low as {named}" if named else "no sentinel to rank against"


def _sentinel(method: str) -> bool:
    return method.startswith(SENTINELS)
