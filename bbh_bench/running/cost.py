"""The cost columns of a record: seconds, and cost relative to the reference workload, which can be compared across machines."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from bbh_bench.running.clock import Part
from bbh_bench.running.reference import Step
from bbh_bench.running.stages import Stages


def costs(
    stages: Stages, reference: Sequence[Step], steps: int, parts: Sequence[Part], parameters: int | None
) -> dict[str, float]:
    """The cost columns. Seconds are wall time, unless their name says ``processor_seconds``.

    ``relative`` is in units of the task's whole budget of ``steps`` plain MAP steps (MAP = 1), ``steps_per_1000`` in units of
    one such step. They are ratios of processor times; on a GPU, of synchronised wall times. ``reference`` are timings around
    and during the evaluation; the ``parts`` of the fit, which may come from the cache, have timings of their own.
    """
    step = mean_step([each.processor_seconds for each in reference])
    attack, attack_processor = _attack(stages.seconds), _attack(stages.processor_seconds)
    thousands = max(1, stages.images["predict"]) / 1000
    predict, predict_processor = stages.seconds["predict"], stages.processor_seconds["predict"]
    columns = {
        "reference/step_seconds": mean_step([each.seconds for each in reference]),
        "reference/step_processor_seconds": step,
        **fit_costs(parts, steps),
        "predict/seconds_per_1000": predict / thousands,
        "predict/processor_seconds_per_1000": predict_processor / thousands,
        "predict/steps_per_1000": predict_processor / thousands / step,
        "attack/seconds": attack,
        "attack/processor_seconds": attack_processor,
        "attack/relative": attack_processor / (step * steps),
    }
    size = {} if parameters is None else {"parameters": parameters}
    return (
        columns
        | size
        | _passes(stages)
        | {f"stage/{name}/seconds": seconds for name, seconds in stages.seconds.items()}
    )


def fit_costs(parts: Sequence[Part], steps: int) -> dict[str, float]:
    """The columns of a fit: each part is compared with the reference workload on its own machine, then they are added up."""
    columns = {
        "fit/seconds": sum(part.seconds for part in parts),
        "fit/processor_seconds": sum(part.processor_seconds for part in parts),
        "fit/relative": sum(part.processor_seconds / (mean_step(part.reference) * steps) for part in parts),
    }
    for k, part in enumerate(parts):
        columns |= {
            f"fit/part/{k}/seconds": part.seconds,
            f"fit/part/{k}/processor_seconds": part.processor_seconds,
            f"fit/part/{k}/step_seconds": mean_step(part.reference),
        }
    return columns


def mean_step(seconds: Sequence[float]) -> float:
    """Duration of a step of the reference workload in a piece of work, from timings at equal distances within it.

    The arithmetic mean. Of several estimators (means and medians of single steps or of blocks), it varied least between fits
    of the same method under changing load.
    """
    return fmean(seconds)


def _passes(stages: Stages) -> dict[str, float]:
    """Of each attack whose passes were counted, for one image."""
    columns = {}
    for attack, passes in stages.passes.items():
        columns[f"attack/{attack}/forward_passes"] = passes.forward / max(1, passes.images)
        columns[f"attack/{attack}/backward_passes"] = passes.backward / max(1, passes.images)
    return columns


def _attack(seconds: Mapping[str, float]) -> float:
    """Of all stages that craft or evaluate adversarial examples."""
    return sum(value for name, value in seconds.items() if name.startswith(("attack/", "evaluate/")))
