"""A plugin file: cells of a second, with fits that have several loops, and attacks."""

from dataclasses import replace

from helpers import QUICK, TINY

from bbh_bench import hookimpl
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble


@hookimpl
def bbh_tasks():
    return [replace(TINY, epochs=15)]


@hookimpl
def bbh_methods():
    return [Ensemble(name="committee", members=3, base=QUICK), Dropout(name="masks", rate=0.25), QUICK]
