"""Messages about cells on a Ray cluster, from the nodes to the driver: what a cell does, and what it prints."""

import os
import time
from collections import deque
from contextlib import suppress
from typing import Any

INTERVAL = 1.0
"""Seconds between two messages about the progress of a fit."""
DELIVERY = 10.0
"""Seconds that messages may take to be delivered before a cell goes on without them."""
UNREAD = 10_000
"""Messages that wait for the driver; older ones are dropped."""
AT_ONCE = 100
"""Lines that a method may print before the next one waits for their delivery."""


class Mailbox:
    """Holds messages until the driver takes them. It runs as an actor of its own, on the driver's node."""

    def __init__(self) -> None:
        self._messages: deque[tuple[Any, ...]] = deque(maxlen=UNREAD)

    def put(self, *message: object) -> None:
        """Add one message: the number of an attempt, the kind, and values."""
        self._messages.append(message)

    def take(self) -> list[tuple[Any, ...]]:
        """All messages since the last call."""
        messages = list(self._messages)
        self._messages.clear()
        return messages


class Post:
    """Sends the messages of one attempt. Whatever goes wrong with them is no failure of the cell."""

    def __init__(self, ray: Any, mailbox: Any, number: int) -> None:
        self._ray = ray
        self._mailbox = mailbox
        self._number = number
        self._process = os.getpid()
        self._next = 0.0
        self._printed = 0
        self._last: Any = None

    def send(self, kind: str, *values: object) -> None:
        """Send one message; of those about a fit, one per interval. A process that a method forked sends nothing."""
        if os.getpid() != self._process or (kind == "fitting" and time.monotonic() < self._next):
            return
        self._next = time.monotonic() + INTERVAL if kind == "fitting" else 0.0
        with suppress(Exception):
            self._last = self._mailbox.put.remote(self._number, kind, *values)
        self._printed += kind == "printed"
        if kind == "printed" and self._printed % AT_ONCE == 0:
            self.delivered()

    def delivered(self) -> None:
        """Wait until the driver can read what was sent."""
        with suppress(Exception):
            self._ray.wait([self._last], timeout=DELIVERY)


class Inbox:
    """The driver's side: starts the mailbox, and reads it without waiting. A run goes on if the mailbox is lost."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        here = ray.get_runtime_context().get_node_id()  # progress is not lost with another node
        strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=True)
        actor = ray.remote(Mailbox).options(num_cpus=0, max_restarts=-1, scheduling_strategy=strategy)
        self.mailbox = actor.remote()
        self._request: Any = None

    def read(self, wait: float = 0) -> list[tuple[Any, ...]]:
        """What has arrived. ``wait``: seconds for an answer of the mailbox, which then has everything that was delivered."""
        messages = self._answer(wait)
        return messages + self._answer(wait) if wait else messages  # the first request may be an old one

    def _answer(self, wait: float) -> list[tuple[Any, ...]]:
        try:
            self._request = self._request or self.mailbox.take.remote()
            if not self._ray.wait([self._request], timeout=wait)[0]:
                return []
            request, self._request = self._request, None
            messages: list[tuple[Any, ...]] = self._ray.get(request)
        except self._ray.exceptions.RayError:  # the mailbox died; Ray starts it again
            self._request = None
            return []
        return messages
