"""The built-in methods: one file each, in the order paper, hyperparameters, ``fit``, posterior."""

from bbh_bench.api import Method
from bbh_bench.hookspecs import hookimpl


@hookimpl
def bbh_methods() -> list[Method]:
    """The built-in methods."""
    from bbh_bench.methods.bbb import Bbb  # noqa: PLC0415  (importing a module does nothing; being asked does)
    from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED  # noqa: PLC0415
    from bbh_bench.methods.dropout import Dropout  # noqa: PLC0415
    from bbh_bench.methods.ensemble import Ensemble  # noqa: PLC0415
    from bbh_bench.methods.map import Map  # noqa: PLC0415
    from bbh_bench.methods.mnf import Mnf  # noqa: PLC0415

    return [Map(), Ensemble(), Dropout(), Bbb(), Mnf(), LAYER_WISE, SLICED, SINGLE]
