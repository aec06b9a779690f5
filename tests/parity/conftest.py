"""Says at the end which methods of the folder have no check yet."""

from collections import Counter

import pytest

from .case import find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from .test_goldens import CHECKS

    unknown = Counter(path.parent.name for path in find() if path.parent.name not in CHECKS)
    if unknown:
        counts = ", ".join(f"{method} ({count})" for method, count in sorted(unknown.items()))
        terminalreporter.section("golden cases of methods without a check")
        terminalreporter.write_line(counts)
