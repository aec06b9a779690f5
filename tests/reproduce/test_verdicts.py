"""Every criterion, on constructed numbers: it can come out either way."""

from typing import Any

import pytest

from scumble.reproduce.figures import FIGURES

Rows = list[dict[str, Any]]


def path(score: str, ends: list[float], sharpness: float, moved: float = 0.0) -> Rows:
    """Two stops of a path, a picture for every end."""
    return [
        {"score": score, "iteration": k, "picture": i, "sharpness": 1 - (1 - sharpness) * (k > 0),
         "distance": end * (k > 0), "moved": moved, "outside": None, "achieved": None}
        for k in (0, 200) for i, end in enumerate(ends)
    ]  # fmt: skip


def shares(sds: float, dds: float) -> Rows:
    names = {"SDS, target prompt": sds, "SDS, source prompt": sds, "DDS": dds}
    return [{"score": n, "picture": i, "inside": v, "area": 0.1} for n, v in names.items() for i in range(4)]


def cosines(matched: float, random: float, other: float) -> Rows:
    names = {"matched pair": matched, "random pair": random, "matched, other noise": other}
    return [{"pair": n, "time": 100, "picture": i, "cosine": v} for n, v in names.items() for i in range(2)]


def norms(own: list[float], other: float) -> Rows:
    rows = [{"prompt": "its own prompt", "time": 1, "picture": i, "norm": v} for i, v in enumerate(own)]
    return rows + [
        {"prompt": "another's prompt", "time": 1, "picture": i, "norm": other} for i in range(len(own))
    ]


def sweep(directions: list[float], distances: list[float]) -> Rows:
    return [
        {"guidance": w, "picture": 0, "direction": g, "distance": d}
        for w, g, d in zip((1.0, 3.0, 15.0), directions, distances, strict=True)
    ]


def pairs(sds: float, ddim: float) -> Rows:
    found = {"SDS": sds, "DDIM": ddim}
    return [{"prompt": p, "painter": n, "distance": d} for p in ("a", "b") for n, d in found.items()]


def pulls(sharpness: float, direction: float) -> Rows:
    dds = {"score": "DDS", "weight": None, "sharpness": 1.0, "direction": 0.02}
    return [
        dds,
        {"score": "SDS", "weight": 0.0, "sharpness": 0.5, "direction": 0.03},
        {"score": "SDS", "weight": 0.1, "sharpness": sharpness, "direction": direction},
    ]


def trades(adam: float, sgd: float, best: float = 0.8) -> Rows:
    return [
        {
            "optimizer": name,
            "iteration": k,
            "picture": 0,
            "outside": price * k / 200,
            "achieved": best * k / 200,
        }
        for name, price in {"adam": adam, "sgd": sgd}.items()
        for k in (0, 100, 200)
    ]


def long(losses: tuple[float, float, float], outside: tuple[float, float, float], known: bool = True) -> Rows:
    return [
        {"iteration": k, "loss": loss, "outside": out if known else None, "distance": out, "sharpness": 1.0}
        for k, loss, out in zip((0, 200, 2000), losses, outside, strict=True)
    ]


CASES: list[tuple[str, Rows, Rows, str]] = [
    (
        "sds-vs-dds",
        path("SDS", [30, 30, 30, 5], 0.7) + path("DDS", [10] * 4, 0.95),
        path("SDS", [30, 30, 5, 5], 0.7) + path("DDS", [10] * 4, 0.95),
        "changed the picture by 23.8 8-bit steps, DDS has 0.95 and 10.0; SDS has changed it more in 75 % of 4",
    ),
    (
        "sds-vs-dds",
        path("SDS", [30] * 2, 0.89) + path("DDS", [10] * 2, 0.91),
        path("SDS", [30] * 2, 0.91) + path("DDS", [10] * 2, 0.95),
        "SDS has 0.89 of the right sharpness",
    ),
    (
        "identity",
        path("SDS", [6, 7], 0.8) + path("DDS", [0, 0], 1),
        path("SDS", [6, 7], 0.8) + path("DDS", [0, 0], 1, moved=1e-7),
        "to the last bit, while SDS is 6.5 8-bit steps",
    ),
    (
        "identity",
        path("SDS", [6, 7], 0.8) + path("DDS", [0, 0], 1),
        path("SDS", [4, 4], 0.8) + path("DDS", [0, 0], 1),
        "6.5 8-bit steps",
    ),
    ("gradient-maps", shares(0.3, 0.45), shares(0.3, 0.35), "45 % of the energy of DDS"),
    ("bias", cosines(0.7, 0.3, 0.05), cosines(0.7, 0.3, 0.2), "0.70 for matched pairs, 0.30 for random"),
    ("bias", cosines(0.7, 0.3, 0.05), cosines(0.7, 0.65, 0.05), "0.05 for matched pairs under other noise"),
    ("norms", norms([0.2, 0.2, 0.2, 0.9], 0.5), norms([0.2, 0.2, 0.9, 0.9], 0.5), "shorter in 75 % of 4"),
    ("norms", norms([0.2], 0.5), norms([0.01], 0.5), "0.200 with the picture's own prompt"),
    ("guidance", sweep([0.01, 0.03, 0.02], [5, 9, 20]), sweep([0.03, 0.03, 0.02], [5, 9, 20]), "w = 3 gains the most"),
    ("guidance", sweep([0.01, 0.03, 0.02], [5, 9, 20]), sweep([0.01, 0.03, 0.02], [20, 9, 5]), "20.0 away"),
    ("mode-seeking", pairs(20, 60), pairs(50, 60), '20 against 60 for "a"'),
    ("regularised", pulls(0.9, 0.03), pulls(0.96, 0.02), "with weight 0"),
    ("optimizers", trades(20, 10), trades(11, 10), "when 72 % of the change is achieved"),
    ("optimizers", trades(20, 10), trades(20, 10, best=-0.5), "by 18.0 8-bit steps, SGD by 9.0"),
    ("long", long((1, 0.9, 1.2), (0, 4, 6)), long((1, 0.9, 0.95), (0, 4, 6)), "from 4.0 to 6.0 8-bit steps"),
    ("long", long((1, 0.9, 1.2), (0, 4, 6), False), long((1, 0.9, 1.2), (0, 4, 5)), "the change of the picture"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "holding", "failing", "words"), CASES, ids=[c[0] for c in CASES])
def test_verdicts_come_out_both_ways(name: str, holding: Rows, failing: Rows, words: str) -> None:
    experiment = FIGURES[name]()
    verdict = experiment.judge(holding)
    assert verdict.holds, verdict.sentence
    assert verdict.sentence.startswith("Holds: ")
    assert words in verdict.sentence
    verdict = experiment.judge(failing)
    assert not verdict.holds, verdict.sentence
    assert verdict.sentence.startswith("Does not hold: ")


def test_every_figure_is_judged_here() -> None:
    assert {case[0] for case in CASES} == set(FIGURES)
