"""Whether the suite computes in its fast ways, or in the plain ones that these are compared with: ``run --no-fast``."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_accelerated: ContextVar[bool] = ContextVar("accelerated", default=True)


@contextmanager
def acceleration(on: bool) -> Iterator[None]:
    """Within this context ``accelerated()`` is ``on``."""
    token = _accelerated.set(on)
    try:
        yield
    finally:
        _accelerated.reset(token)


def accelerated() -> bool:
    """Whether to compute in the fast way. True unless a context says otherwise."""
    return _accelerated.get()
