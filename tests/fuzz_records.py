"""Records of every allowed shape, and contents of record and array files that are none."""

import json

import msgspec
import numpy as np
from fuzz_json import TEXTS, VALUES, as_text, broken_bytes, changed
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from record_factory import failed, record, unattacked

BASES = [msgspec.to_builtins(base) for base in (record("m", 2), unattacked("m", 2), failed("m", 2))]
"""The cell ``t/v1/m/seed2``: finished, without attacks, failed."""

FINITE = st.floats(-1e140, 1e140, allow_nan=False)
NAMES = st.text("abcz019/_-@.", min_size=1, max_size=10)
PLAIN_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FIELD_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | PLAIN_TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def valid_records(draw):
    """Finished records whose free parts have any value that the schema allows."""
    base = record("m", draw(st.integers(0, 10**6)))
    length = draw(st.integers(0, 3))
    column = st.lists(FINITE, min_size=length, max_size=length)
    method = msgspec.structs.replace(
        base.method,
        description=draw(PLAIN_TEXTS),
        hyperparameters=draw(st.dictionaries(PLAIN_TEXTS, FIELD_VALUES, max_size=3)),
    )
    return msgspec.structs.replace(
        base,
        method=method,
        scores=base.scores | draw(st.dictionaries(NAMES, FINITE, max_size=3)),
        curves=draw(st.dictionaries(NAMES, st.dictionaries(NAMES, column, min_size=1, max_size=2), max_size=2)),
        cost=base.cost | draw(st.dictionaries(NAMES, FINITE, max_size=3)),
        warnings=draw(st.lists(PLAIN_TEXTS, max_size=2)),
    )


STORED_ARRAYS = st.dictionaries(
    st.text("abc/_-.", min_size=1, max_size=6).filter(lambda name: name not in (".", "..")),
    arrays_of.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    min_size=1,
    max_size=3,
)


@st.composite
def contents(draw):
    """What may stand in the place of a record: changed records, other JSON, broken text, any bytes."""
    base = draw(st.sampled_from(BASES))
    kind = draw(st.sampled_from(["changed", "changed", "changed", "changed", "value", "broken", "bytes", "repeated"]))
    if kind == "changed":
        return as_text(draw(changed(base))).encode()
    if kind == "value":
        return as_text(draw(VALUES)).encode()
    if kind == "broken":
        return draw(broken_bytes(json.dumps(base).encode()))
    if kind == "repeated":  # a key that stands there twice
        text = json.dumps(base)
        return f"{text[:-1]}, {json.dumps(draw(st.sampled_from(sorted(base))))}: {as_text(draw(VALUES))}}}".encode()
    return draw(st.binary(max_size=64)) + draw(TEXTS).encode(errors="replace")
