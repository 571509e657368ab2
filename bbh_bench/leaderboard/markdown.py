"""The board as markdown: readable in a terminal, in a pull request's diff, and rendered."""

from tabulate import tabulate

from bbh_bench.leaderboard import figures, reproduction
from bbh_bench.leaderboard.rendering import markdown_table, score, table
from bbh_bench.leaderboard.robustness import NORMS, badges, struck_out, under_attack
from bbh_bench.leaderboard.tables import Column, TaskRecords, by_task
from bbh_bench.records.record import Record

PREAMBLE = """# bbh_bench leaderboard

Rendered by `bbh-bench report` from the records beside this page. Figures are the mean ± the standard error over n seeds.
**Bold**: best, and ahead of every other row by more than two combined standard errors. –: doesn't apply, or wasn't measured.

- *Entropy AUC*: the area under the distribution function of the predictive entropy over [0, log K], which is 1 − mean
  entropy / log K. Low is uncertain: high is wanted on the test set, low on outliers. It says nothing of separation;
  *AUROC* does (outliers positive, told by predictive entropy).
- *Degradation*: the area under the accuracy–ε curve, scaled to [0, 1]; 1 is unharmed. Images are crafted on frozen draws of
  the posterior and judged on fresh ones. *Worst case*: an image counts as right only if no attack of the norm turned it.
- *Audit*: checks that the attacks are as strong as they should be, so that nothing hides behind masked gradients. Figures of
  robustness of a method that fails it are ~~struck out~~ and not ranked.
- *Cost*: a "plain MAP fit" is the task's budget of plain MAP training steps at the speed measured on the same machine
  around the same cell, so that rows from different machines can be compared. Seconds can't."""


def board(records: list[Record]) -> str:
    """The whole page."""
    groups = by_task(records)
    if not groups:
        return f"{PREAMBLE}\n\nThere are no records yet.\n"
    return "\n\n".join([PREAMBLE, *(_section(group) for group in groups)]) + "\n"


def summary(records: list[Record]) -> str:
    """The first table of each task, for a terminal."""
    return "\n\n".join("\n\n".join([_title(group), *_main(group)]) for group in by_task(records))


def _title(group: TaskRecords) -> str:
    task = group.head.task
    return f"{task['name']} v{task['version']}: {task['title']}"


def _section(group: TaskRecords) -> str:
    parts = [f"## {_title(group)}", *_main(group)]
    if group.has("grid/prediction"):
        parts.append(f"![Data, truth, mean and 1, 2, 3 deviations of each method]({figures.name(group)})")
    if group.has("test/nll"):
        parts += ["### In distribution", table(group, _test_columns(group))]
        for name in group.outliers():
            parts += [f"### Outliers: {name}", table(group, _outlier_columns(group, name))]
        parts += under_attack(group)
    parts += [*_shifts(group), *_reproduction(group)]
    if group.finished:
        parts += ["### Cost", table(group, COST)]
    if group.failed:
        parts += ["### Failures", _failures(group)]
    return "\n\n".join([*parts, _origin(group)])


def _main(group: TaskRecords) -> list[str]:
    """The first table, and why figures in it are struck out."""
    audits = {"audit": badges(group)} if any(record.audit for record in group.finished) else {}
    return [table(group, _main_columns(group), audits), *struck_out(group)]


def _main_columns(group: TaskRecords) -> list[Column]:
    if group.has("inside/rmse"):
        return [*_line_columns(group), COST[0]]
    columns = [
        score(group, "error %", "test/error", 2, 100),
        score(group, "NLL", "test/nll", 4),
        score(group, "ECE", "test/ece", 4),
        score(group, "entropy AUC", "test/entropy_auc"),
    ]
    for name in group.outliers()[:1]:
        columns.append(score(group, f"{name} entropy AUC", f"outlier/{name}/entropy_auc"))
        columns.append(score(group, f"{name} AUROC", f"outlier/{name}/auroc"))
    for norm, sign in NORMS.items():
        if group.has(f"robust/{norm}"):
            columns.append(score(group, f"worst-case {sign} degradation", f"robust/{norm}/accuracy_area"))
    return [*columns, Column("fit, plain MAP fits", "cost:fit/fits", 1)]


def _line_columns(group: TaskRecords) -> list[Column]:
    """Of a regression on a line."""
    return [
        score(group, "RMSE inside", "inside/rmse", 2),
        score(group, "NLL inside", "inside/nll"),
        score(group, "NLL on the grid", "grid/nll", 2),
        *[score(group, f"{k} % intervals cover %", f"inside/coverage{k}", 1, 100) for k in (50, 90, 95)],
        score(group, "95 % width outside", "outside/width", 1),
    ]


def _test_columns(group: TaskRecords) -> list[Column]:
    return [
        score(group, "error %", "test/error", 2, 100),
        score(group, "NLL", "test/nll", 4),
        score(group, "Brier", "test/brier", 4),
        score(group, "ECE", "test/ece", 4),
        score(group, "entropy AUC", "test/entropy_auc"),
        score(group, "entropy", "test/entropy"),
        score(group, "expected entropy", "test/expected_entropy"),
        score(group, "mutual information", "test/mutual_information", 4),
        *_further(group, "test/"),
    ]


def _outlier_columns(group: TaskRecords, name: str) -> list[Column]:
    return [
        score(group, "entropy AUC", f"outlier/{name}/entropy_auc"),
        score(group, "AUROC", f"outlier/{name}/auroc"),
        score(group, "AUPR", f"outlier/{name}/aupr"),
        score(group, "FPR95", f"outlier/{name}/fpr95"),
        score(group, "entropy", f"outlier/{name}/entropy"),
        score(group, "expected entropy", f"outlier/{name}/expected_entropy"),
        score(group, "mutual information", f"outlier/{name}/mutual_information", 4),
        *_further(group, f"outlier/{name}/"),
    ]


COST = [
    Column("fit, plain MAP fits", "cost:fit/fits", 1),
    Column("fit s", "cost:fit/seconds", 1),
    Column("predict 1,000 images, plain MAP steps", "cost:predict/steps_per_1000", 1),
    Column("predict 1,000 images s", "cost:predict/seconds_per_1000", 3),
    Column("attack, plain MAP fits", "cost:attack/fits", 2),
    Column("attack s", "cost:attack/seconds", 1),
    Column("peak memory MiB", "cost:peak_memory_bytes", 0, 2.0**-20),
    Column("numbers learnt", "cost:parameters", 0),
]

KNOWN = {
    *("error", "nll", "brier", "ece", "entropy_auc", "entropy", "expected_entropy", "mutual_information"),
    *("auroc", "aupr", "fpr95"),
}


def _further(group: TaskRecords, prefix: str) -> list[Column]:
    """Columns for what plugins' metrics found."""
    names = {name for record in group.finished for name in record.scores if name.startswith(prefix)}
    return [score(group, metric, name) for name in sorted(names) if (metric := name.removeprefix(prefix)) not in KNOWN]


def _shifts(group: TaskRecords) -> list[str]:
    """Figures of the test images changed by degrees, and the paper's own images."""
    several, single = group.shifts()
    parts = ["### Shifts"] if several or single else []
    if several:
        parts.append(
            f"Test images changed by degrees ({', '.join(several)}): the mean over images and seeds, with a band of one "
            f"standard error over seeds.\n\n![Entropy, mutual information and accuracy along each shift]"
            f"({figures.name(group, 'shifts')})"
        )
    if single:
        parts.append(
            "Single images: the mean probability of each class and, dashed, the entropy's share of log K.\n\n"
            f"![Class probabilities of single images along each shift]({figures.name(group, 'images')})"
        )
    return parts


def _reproduction(group: TaskRecords) -> list[str]:
    """The paper's tables beside ours."""
    parts = []
    for title, rows in reproduction.tables(group):
        parts += [f"**{title}**", markdown_table(reproduction.HEADINGS, rows)]
    if not parts:
        return []
    short = [reproduction.SHORT] if group.head.task["name"] == "mnist-short" else []
    return ["### Reproduction of the paper", reproduction.CAPTION, *short, *parts]


def _failures(group: TaskRecords) -> str:
    rows = [[r.method["name"], r.seed, r.error["type"], _plain(r.error["message"])] for r in group.failed]
    return markdown_table(["method", "seed", "error", "message"], rows)


def _plain(text: str) -> str:
    """A stranger's text for a cell of a table: one line, no markup, not too long."""
    escaped = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return escaped if len(escaped) <= 300 else escaped[:300] + "..."


def _origin(group: TaskRecords) -> str:
    """Which machines and versions the rows come from, and the task's fingerprint."""
    lines = []
    for record in group.records:
        made = record.provenance
        hardware = made["hardware"]
        machine = hardware["accelerator"] or f"{hardware['processor']}, {hardware['threads']} threads"
        commit = (
            "no commit" if made["commit"] is None else made["commit"][:10] + (" with changes" if made["dirty"] else "")
        )
        fit = made.get("fit") or {}
        before = f", fitted before by `{fit['command']}` ({(fit['commit'] or 'no commit')[:10]})" if fit else ""
        lines.append(
            f"bbh-bench {made['packages']['bbh-bench']} ({commit}), torch {made['packages']['torch']}, {machine}, "
            f"by `{made['command']}`{before}"
        )
    counted = [f"- {lines.count(line)} cells: {line}" for line in dict.fromkeys(lines)]
    return "\n".join([f"Task fingerprint `{group.head.task['fingerprint']}`.", "", *counted])


def record_page(record: Record) -> str:
    """One record, for a terminal."""
    made = record.provenance
    lines = [
        f"{record.task['name']} v{record.task['version']}, {record.method['name']} ({record.method['distribution']}), "
        f"seed {record.seed}: {record.status}",
        f"{record.method['hyperparameters']}",
        f"{made['started']}, {made['command']}, commit {made['commit']}{' with changes' if made['dirty'] else ''}",
    ]
    if record.status == "failed":
        return "\n".join([*lines, record.error["traceback"]])
    rows = [(name, f"{value:.6g}", "") for name, value in [*record.scores.items(), *record.cost.items()]]
    for name, check in record.audit.items():
        figure = "" if check["figure"] is None else f"{check['figure']:.6g} of {check['limit']:.6g} {check['unit']}"
        rows.append((f"audit/{name}", check["verdict"], figure))
    return "\n".join([*lines, tabulate(rows, tablefmt="plain", disable_numparse=True)])
