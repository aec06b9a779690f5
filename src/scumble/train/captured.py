"""Gradients recorded once as a CUDA graph and replayed: small networks otherwise wait for Python."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

EAGER = 12
"""Steps that are taken one operation at a time before the graph is recorded: libraries choose their kernels in them."""


class Captured:
    """A forward and backward pass of unchanging shapes, as fast as its kernels allow.

    step: reads and writes the same tensors each time, and looks at no tensor's value; what it returns holds the values
    of the latest call. Once it is recorded, each call overwrites the gradients, so they must stay where they are. A
    step that cannot be recorded goes on as it is, with a warning.
    """

    def __init__(self, step: Callable[[], dict[str, Tensor]]):
        self.step, self.count = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.found: dict[str, Tensor] = {}
        self.side = torch.cuda.Stream()

    def __call__(self) -> dict[str, Tensor]:
        if self.graph is None:
            self.count += 1
            if self.count == EAGER:
                self._record()
        if self.graph is not None:
            self.graph.replay()
            return self.found
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            found = self.step()
        torch.cuda.current_stream().wait_stream(self.side)
        return found

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.found = self.step()
        except RuntimeError as error:
            log.warning("the step cannot be recorded as a CUDA graph and runs as it is: %s", error)
            log.debug("where it failed", exc_info=error)
            return
        self.graph = graph
