"""The board as markdown: readable in a terminal, in the diff of a pull request, and rendered."""

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.audit import passed_checks, struck_out_reasons
from bbh_bench.leaderboard.columns import COSTS, in_distribution_columns, main_columns, ood_columns, other_columns
from bbh_bench.leaderboard.origin import origin
from bbh_bench.leaderboard.passes import passes_table
from bbh_bench.leaderboard.rendering import Table, escaped, paragraph, score_table
from bbh_bench.leaderboard.reproduction import CAPTION, notes, paper_tables
from bbh_bench.leaderboard.robustness import attack_sections, averaged_over
from bbh_bench.leaderboard.tables import TaskRecords, by_task
from bbh_bench.leaderboard.uncertainty import uncertainty_sections
from bbh_bench.records.record import Record

PREAMBLE = """# bbh_bench leaderboard

Rendered by `bbh-bench report` from the records in this folder. Each value is the mean over n seeds ± its standard
error. The arrows ↓ and ↑ say whether lower or higher values are better. **Bold** marks the best method of a column.
It is used only if its mean is ahead of every other mean by more than two combined standard errors, which needs at
least two seeds of every method. A dash (–) means that the value does not apply or was not measured. Methods are
ordered by the headline score of the task.

- *Entropy AUC*: the area under the cumulative distribution function of the predictive entropy, where the entropy is
  divided by log K for K classes. It equals 1 − mean entropy / log K. High values mean low uncertainty: they are
  wanted on the test set, and low values on out-of-distribution (OOD) images. It does not say how well the two sets
  can be separated.
- *OOD AUROC*, *AUPR* and *FPR95*: how well predictive entropy detects OOD images, which are the positive class.
- *Robust accuracy*: the accuracy on adversarial examples, evaluated on fresh samples of the posterior that the
  attacker does not have. In the *worst case* over several attacks, an image counts as correct only if no attack makes
  it misclassified. ≤ and ≥ mark bounds: the networks have no gradients, so that only black-box and transfer attacks
  were possible, and the values cannot be the best.
- *Known networks*: the attacker attacks the very networks that decide. Otherwise they are *fresh*: it does not have
  them. The gap between the two accuracies is what randomness gains.
- *OOD AUROC under attack*: where OOD images are perturbed to look certain and test images to look uncertain; its mean
  over ε from 0 on.
- *Robust-accuracy AUC*: the area under the curve of robust accuracy against ε, divided by the range of ε. It is 1 if
  every image stays correct. It can be compared only between curves with the same ε. For a single ε it is the accuracy
  there.
- *Attack degradation*: the accuracy that is lost under attack, in percentage points: the accuracy on the same images
  without an attack minus the accuracy under attack, averaged over the ε above 0.
- *Audit*: checks of whether the attacks are strong enough, for example whether gradients are masked. ✓ 30/30 means
  that all 30 checks of all seeds passed. If one fails, the robustness values of the method are ~~struck out~~ and it
  cannot be the best.
- *Relative cost (MAP = 1)*: time divided by the time of plain MAP training with the task's whole budget. Both are
  measured on the same machine, some steps of MAP in between those of the method, so relative costs can be compared
  between machines. Seconds cannot. It is processor time, on a GPU time on the clock. Records made before 2026-11-25
  have time on the clock, measured one just after the other: those costs are less exact."""

REGRESSION = (
    "*Inside* is the range of the training inputs, *outside* is the rest of the grid. *Coverage of k %*: the percentage of "
    "noisy targets inside that lie in the central k % predictive interval; for a calibrated method it is k. "
    "*95 % width outside*: the mean width of the interval that holds the central 95 % of the networks' outputs, without noise."
)
FITS = (
    "Predictions of each method with its lowest seed. Bands are 1, 2 and 3 standard deviations over the networks, without the "
    "noise of the targets."
)
SHIFTS = "Lines are means over images and seeds; bands are one standard error over seeds."
SINGLE_IMAGES = (
    "Single images, each method with its lowest seed: the predictive probability of each class and, dashed, the predictive "
    "entropy divided by log K."
)
COST = (
    "*Relative cost* is the cost of the fit. Prediction is for 1,000 images, in training steps of plain MAP and in seconds. "
    "Attacks are all attacks together with their evaluation. Seconds depend on the machine."
)
ENTROPY_UNIT = "Entropies and mutual information are means over images, in nats."


def board(records: list[Record]) -> str:
    """The whole page."""
    groups = by_task(records)
    if not groups:
        return f"{PREAMBLE}\n\nThere are no records yet.\n"
    return "\n\n".join([PREAMBLE, *(_section(group) for group in groups)]) + "\n"


def summary(records: list[Record]) -> str:
    """The first table of each task, for a terminal."""
    parts = []
    for group in by_task(records):
        parts += [_title(group), main_table(group).terminal(), *struck_out_reasons(group)]
    return "\n\n".join(parts)


def main_table(group: TaskRecords) -> Table:
    """The first table of a task."""
    audited = any(record.audit for record in group.finished)
    return score_table(group, main_columns(group), {"audit": passed_checks(group)} if audited else None)


def _title(group: TaskRecords) -> str:
    return f"{escaped(group.task.name)} v{group.task.version}: {escaped(group.task.title)}"


def _section(group: TaskRecords) -> str:
    parts = [f"## {_title(group)}", main_table(group).markdown(), *_main_caption(group), *struck_out_reasons(group)]
    if figures.has_fits(group):
        parts += [
            f"![Data, true function and predictions of each method]({figures.file_name(group)})",
            paragraph(FITS),
        ]
    if group.task.kind == "classification" and group.finished:
        parts += _classification_sections(group)
    if group.finished:
        parts += ["### Cost", paragraph(COST), score_table(group, COSTS).markdown(), *passes_table(group)]
    return "\n\n".join([*parts, *_warnings(group), *_failures(group), origin(group)])


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


def _classification_sections(group: TaskRecords) -> list[str]:
    parts = ["### In distribution", ENTROPY_UNIT, score_table(group, in_distribution_columns(group)).markdown()]
    for name in group.ood_sets():
        parts += [f"### OOD: {escaped(name)}", score_table(group, ood_columns(group, name)).markdown()]
    if other := other_columns(group):
        parts += ["### Other scores", score_table(group, other).markdown()]
    return [*parts, *attack_sections(group), *uncertainty_sections(group), *_shifts(group), *_reproduction(group)]


def _shifts(group: TaskRecords) -> list[str]:
    """Figures of shifted test images, and of the single images that the paper shows."""
    many_images, single_image = group.shifts()
    parts = ["### Shifts"] if many_images or single_image else []
    if many_images:
        parts += [
            f"![Entropy, mutual information and accuracy along each shift]({figures.file_name(group, 'shifts')})",
            paragraph(f"Test images shifted with increasing severity: {escaped(', '.join(many_images))}. {SHIFTS}"),
        ]
    if single_image:
        parts += [
            f"![Class probabilities of single images along each shift]({figures.file_name(group, 'images')})",
            paragraph(SINGLE_IMAGES),
        ]
    return parts


def _reproduction(group: TaskRecords) -> list[str]:
    """Our results beside the tables of the paper."""
    parts = []
    for title, table in paper_tables(group):
        parts += [f"**{title}**", table.markdown()]
    if not parts:
        return []
    return ["### Comparison with the paper", CAPTION, *notes(group), *parts]


def _warnings(group: TaskRecords) -> list[str]:
    """Each warning of a method once, with the seeds that have it."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for record in group.records:
        for sentence in record.warnings:
            seeds.setdefault((record.method.name, sentence), []).append(record.seed)
    rows = [
        [method, str(len(own)), ", ".join(map(str, sorted(set(own)))), escaped(sentence)]
        for (method, sentence), own in seeds.items()
    ]
    return ["### Warnings", Table(["method", "count", "seeds", "warning"], rows, "left").markdown()] if rows else []


def _failures(group: TaskRecords) -> list[str]:
    """Failed cells, and why they failed."""
    rows = []
    for record in group.failed:
        error = record.error
        if error is not None:
            texts = (error.type, error.message, error.location)
            rows.append([record.method.name, str(record.seed), *map(escaped, texts)])
    headings = ["method", "seed", "error", "message", "location"]
    return ["### Failures", Table(headings, rows, "left").markdown()] if rows else []
