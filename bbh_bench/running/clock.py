"""temporary"""

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    seconds: float
    processor_seconds: float
    reference: list


class FitClock:
    def __init__(self, device):
        self.reference = []
        self._earlier = []
        self._w = self._p = 0.0
        self._on = None

    def _now(self):
        t = os.times()
        return time.perf_counter(), t.user + t.system + t.children_user + t.children_system

    def start(self):
        self._on = self._now()

    def stop(self):
        if self._on:
            n = self._now()
            self._w += n[0] - self._on[0]
            self._p += n[1] - self._on[1]
            self._on = None

    @contextmanager
    def paused(self):
        on = self._on is not None
        self.stop()
        try:
            yield
        finally:
            if on:
                self.start()

    def restore(self, parts):
        self._earlier = list(parts)
        on = self._on is not None
        self._w = self._p = 0.0
        self.reference = []
        self._on = self._now() if on else None

    def parts(self):
        on = self._on is not None
        self.stop()
        if on:
            self.start()
        return [*self._earlier, Part(self._w, self._p, self.reference)]
