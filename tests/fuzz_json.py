"""JSON values, and changes of JSON values."""

import json
import math
from copy import deepcopy

from hypothesis import strategies as st

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "\n", "..", "../x", "/etc/passwd", "a|b", "<b>", "`", "nan", "0", "x" * 300, "\0", "{{x}}"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0, 5e-324, 1e300, 1.7e308, math.inf, math.nan]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def places(value, path=()):
    """The path of every value within a JSON value, but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from places(part, (*path, key))


def alike(value):
    """Values of the same JSON type, which a schema may not tell from this one."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return st.integers(-3, 10**6) if isinstance(value, int) else st.floats(-1e140, 1e140, allow_nan=False)
    if isinstance(value, str):
        return TEXTS
    if isinstance(value, list):
        return st.lists(st.sampled_from(value) if value else SCALARS, max_size=3)
    if isinstance(value, dict):
        return (
            st.dictionaries(st.sampled_from(sorted(value)) | TEXTS, st.sampled_from(list(value.values())), max_size=4)
            if value
            else VALUES.map(lambda inner: {"a": inner})
        )
    return SCALARS


@st.composite
def changed(draw, value, changes=3):
    """A JSON value of which some parts are replaced, removed, renamed, repeated or moved."""
    result = deepcopy(value)
    for _ in range(draw(st.integers(1, changes))):
        found = list(places(result))
        if not found:
            break
        *above, key = draw(st.sampled_from(found))
        parent = result
        for step in above:
            parent = parent[step]
        act = draw(st.sampled_from(["alike", "alike", "alike", "replace", "remove", "rename", "elsewhere"]))
        if act == "alike":
            parent[key] = draw(alike(parent[key]))
        elif act == "remove":
            del parent[key]
        elif act == "rename" and isinstance(parent, dict):
            parent[draw(TEXTS)] = parent.pop(key)
        elif act == "elsewhere":
            part = result
            for step in draw(st.sampled_from(found)):
                part = part[step]
            parent[key] = deepcopy(part)
        else:
            parent[key] = draw(VALUES)
    return result


@st.composite
def broken_bytes(draw, content):
    """Bytes of which some are changed, cut out, repeated or put in."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        act = draw(st.sampled_from(["change", "cut", "insert", "end"]))
        if act == "change" and data:
            data[at] = draw(st.integers(0, 255))
        elif act == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif act == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=4))
        else:
            del data[at:]
    return bytes(data)


def as_text(value) -> str:
    """JSON with NaN and infinity as Python writes them, and halves of surrogate pairs escaped."""
    return json.dumps(value)
