"""One page for each task, with everything: readable in a terminal, in the diff of a pull request, and rendered."""

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.audit import passed_checks, struck_out_reasons
from bbh_bench.leaderboard.columns import COSTS, in_distribution_columns, main_columns, ood_columns, other_columns
from bbh_bench.leaderboard.corruption import corruption_section
from bbh_bench.leaderboard.deep_ensemble import equivalent
from bbh_bench.leaderboard.equivalence import equivalence_section
from bbh_bench.leaderboard.fidelity import fidelity_sections
from bbh_bench.leaderboard.ood_detection import detection_section
from bbh_bench.leaderboard.origin import origin
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.passes import passes_table
from bbh_bench.leaderboard.rendering import Table, escaped, paragraph, score_column, score_table
from bbh_bench.leaderboard.reproduction import CAPTION, notes, paper_tables
from bbh_bench.leaderboard.robustness import attack_sections, averaged_over
from bbh_bench.leaderboard.selective import selective_section
from bbh_bench.leaderboard.statistics import column_values
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.leaderboard.trade_off import front_sentence
from bbh_bench.leaderboard.uncertainty import uncertainty_sections
from bbh_bench.leaderboard.verification import verification
from bbh_bench.records.record import Record

INTRODUCTION = (
    "Values are means over seeds ± half of their 95 % t interval. "
    "[The first page](LEADERBOARD.md#how-to-read-this) explains words and marks, and has the ranks."
)
REGRESSION = (
    "*Inside* is the range of the training inputs, *outside* is the rest of the grid. *Coverage of k %*: the percentage of "
    "noisy targets inside that lie in the central k % predictive interval; for a calibrated method it is k. "
    "*95 % width outside*: the mean width of the interval that holds the central 95 % of the networks' outputs, without noise."
)
FITS = (
    "Predictions of each method with its lowest seed. Bands are 1, 2 and 3 standard deviations over the networks, without the "
    "noise of the targets."
)
SHIFTS = "Lines are means over images and seeds; bands are 95 % t intervals over seeds."
SINGLE_IMAGES = (
    "Single images, each method with its lowest seed: the predictive probability of each class and, dashed, the predictive "
    "entropy divided by log K."
)
COST = (
    "*Relative cost* is the cost of the fit. Prediction is for 1,000 images, in training steps of plain MAP and in seconds. "
    "Attacks are all attacks together with their evaluation. Seconds depend on the machine."
)
ENTROPY_UNIT = "Entropies and mutual information are means over images, in nats."


def page_name(group: TaskRecords) -> str:
    """File name of the page of a task."""
    return f"{group.stem}.md"


def task_page(group: TaskRecords) -> list[Block]:
    """The whole page."""
    parts: list[Block] = [
        f"# {title(group)}",
        INTRODUCTION,
        main_table(group),
        *_main_caption(group),
        *struck_out_reasons(group),
        *front_sentence(group),
    ]
    if figures.has_fits(group):
        parts.append(figure(group, "fits", "Data, true function and predictions of each method", FITS))
    parts += fidelity_sections(group)
    if group.task.kind == "classification" and group.finished:
        parts += _classification_sections(group)
    if group.finished:
        parts += ["## Cost", paragraph(COST), score_table(group, COSTS), *passes_table(group)]
    return [*parts, *_warnings(group), *_failures(group), *verification(group), origin(group)]


def summary(records: list[Record]) -> str:
    """The first table of each task, for a terminal."""
    parts = []
    for group in by_task(records):
        parts += [title(group), main_table(group).terminal(), *struck_out_reasons(group)]
    return "\n\n".join(parts)


def main_table(group: TaskRecords) -> Table:
    """The first table of a task."""
    audited = any(record.audit for record in group.finished)
    return score_table(group, main_columns(group), {"audit": passed_checks(group)} if audited else None)


def title(group: TaskRecords) -> str:
    """Name, version and title of a task."""
    return f"{escaped(group.task.name)} v{group.task.version}: {escaped(group.task.title)}"


def _main_caption(group: TaskRecords) -> list[str]:
    """What a reader must know of the first table: the OOD set, the norm, and what degradation is averaged over."""
    sentences = []
    if group.task.kind == "regression" and group.score_names("inside/"):
        sentences.append(REGRESSION)
    if group.task.kind == "classification":
        sentences += [f"The OOD set of this table is {escaped(name)}." for name in group.ood_sets()[:1]]
        if group.has("robust/linf"):
            sentences.append("Its robustness values are those of the worst case over the L∞ attacks.")
        if group.has("robust/linf/degradation") and group.has("robust/linf"):
            sentences.append(f"Attack degradation is averaged over ε = {averaged_over(group, 'robust/linf')}.")
    return [paragraph(" ".join(sentences))] if sentences else []


def _classification_sections(group: TaskRecords) -> list[Block]:
    parts: list[Block] = ["## In distribution", ENTROPY_UNIT, in_distribution_table(group)]
    parts += selective_section(group)
    parts += corruption_section(group)
    for name in group.ood_sets():
        parts += [f"## OOD: {escaped(name)}", score_table(group, ood_columns(group, name))]
    parts += detection_section(group)
    if other := other_columns(group):
        parts += ["## Other scores", score_table(group, other)]
    parts += equivalence_section(group)
    return [*parts, *attack_sections(group), *uncertainty_sections(group), *_shifts(group), *_reproduction(group)]


def in_distribution_table(group: TaskRecords) -> Table:
    """Scores on the test set, and what number of networks an ensemble needs for the same likelihood."""
    texts = {}
    column = score_column(group, "", "test/nll_scaled")
    for name, value in column_values(group, column).values.items():
        half = value.half or 0.0
        ends = [equivalent(group.ensembles, value.mean + side * half) for side in (0, 1, -1)]
        if None not in ends:
            texts[name] = f"{ends[0]} [{ends[1]}, {ends[2]}]" if half else f"{ends[0]}"
    columns = in_distribution_columns(group)
    return score_table(group, columns, {"deep-ensemble equivalent": texts} if texts else None)


def _shifts(group: TaskRecords) -> list[Block]:
    """Figures of shifted test images, and of the single images that the paper shows."""
    many_images, single_image = group.shifts()
    parts: list[Block] = ["## Shifts"] if many_images or single_image else []
    if many_images:
        parts += [
            paragraph(f"Test images shifted with increasing severity: {escaped(', '.join(many_images))}."),
            figure(group, "shifts", "Entropy, mutual information and accuracy along each shift", SHIFTS),
        ]
    if single_image:
        parts.append(figure(group, "images", "Class probabilities of single images along each shift", SINGLE_IMAGES))
    return parts


def _reproduction(group: TaskRecords) -> list[Block]:
    """Our results beside the tables of the paper."""
    parts: list[Block] = []
    for name, tied, table in paper_tables(group):
        parts += [paragraph(f"**{name}** {tied}"), table]
    if not parts:
        return []
    return ["## Comparison with the paper", CAPTION, *notes(group), *parts]


def _warnings(group: TaskRecords) -> list[Block]:
    """Each warning of a method once, with the seeds that have it."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for record in group.records:
        for sentence in record.warnings:
            seeds.setdefault((record.method.name, sentence), []).append(record.seed)
    rows = [
        [method, str(len(own)), ", ".join(map(str, sorted(set(own)))), escaped(sentence)]
        for (method, sentence), own in seeds.items()
    ]
    return ["## Warnings", Table(["method", "count", "seeds", "warning"], rows, "left")] if rows else []


def _failures(group: TaskRecords) -> list[Block]:
    """Failed cells, and why they failed."""
    rows = []
    for record in group.failed:
        error = record.error
        if error is not None:
            texts = (error.type, error.message, error.location)
            rows.append([record.method.name, str(record.seed), *map(escaped, texts)])
    headings = ["method", "seed", "error", "message", "location"]
    return ["## Failures", Table(headings, rows, "left")] if rows else []
