"""The board's part on the audit: checks of whether the attacks are strong enough for robustness scores to be trusted."""

from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.rendering import DASH, Table, escaped, paragraph
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import TaskRecords
from bbh_bench.records.record import Check

VERDICTS = {"pass": "✓", "fail": "✗", "not applicable": DASH}


def passed_checks(group: TaskRecords) -> dict[str, str]:
    """For each method, the number of checks that passed, of those that apply, over all seeds: ``✓ 30/30``."""
    texts = {}
    for method in method_order(group):
        verdicts = [check.verdict for record in group.by_method[method] for check in record.audit.values()]
        passed, failed = verdicts.count("pass"), verdicts.count("fail")
        if passed or failed:
            texts[method] = f"{VERDICTS['fail' if failed else 'pass']} {passed}/{passed + failed}"
    return texts


def struck_out_reasons(group: TaskRecords) -> list[str]:
    """Which failed checks are the reason that values are struck out: a paragraph and a list, or nothing."""
    reasons = [
        f"- {escaped(method)}, seed {failed.seed}: {escaped(failed.check.description)}: {_number(failed.check.value)} "
        f"{escaped(failed.check.unit)} (limit {_number(failed.check.limit)})"
        for method in map(str, method_order(group))
        for failed in group.failed_checks(method)
    ]
    if not reasons:
        return []
    return [
        "Robustness values that are ~~struck out~~ cannot be trusted, because checks of the attacks failed:",
        "\n".join(reasons),
    ]


def audit_section(group: TaskRecords) -> list[Block]:
    """A table with a row for each check and a column for each method, and what the checks measure."""
    checks = {name: check for record in group.finished for name, check in record.audit.items()}
    if not checks:
        return []
    methods = method_order(group)
    rows = [
        [
            f"{_words(name)}, {check.unit}",
            *(_closest([record.audit[name] for record in group.by_method[m] if name in record.audit]) for m in methods),
        ]
        for name, check in checks.items()
    ]
    caption = (
        "**Audit of the attacks**: for each method, the value of the seed that is closest to the limit of the check or "
        "exceeds it most. The limit of a difference in accuracy includes two standard errors of the difference. "
        "`bbh-bench show` prints the limits of a record."
    )
    return [
        paragraph(caption),
        Table(["check", *methods], rows),
        "\n".join(f"- *{escaped(_words(name))}*: {escaped(check.description)}" for name, check in checks.items()),
    ]


def _closest(checks: list[Check]) -> str:
    measured = [
        (check.value - check.limit, check) for check in checks if check.value is not None and check.limit is not None
    ]
    if not measured:
        return DASH
    _, check = max(measured, key=lambda pair: pair[0])
    return f"{VERDICTS[check.verdict]} {_number(check.value)}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _words(name: str) -> str:
    return name.replace("_", " ")
