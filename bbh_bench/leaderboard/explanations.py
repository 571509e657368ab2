"""What each score means, in two sentences, shown where the pointer rests on the heading of a column."""

EXPLANATIONS = {
    "error": "The percentage of test images whose most probable class is not their label. Averaging several networks usually "
    "lowers it.",
    "nll": "The mean negative log-likelihood of the label, in nats: a proper score, which rewards probabilities that are "
    "right. One confident mistake raises it a lot.",
    "nll_scaled": "The NLL after the best temperature was applied to the predictions, fitted on one half of the test images "
    "and evaluated on the other half. It compares methods without their calibration, which a temperature can correct.",
    "brier": "The mean squared distance between the probabilities and the label, between 0 and 2. It is a proper score that "
    "single mistakes do not dominate.",
    "ece": "Expected calibration error: by how much confidence and accuracy differ, on average over 15 bins of confidence. It "
    "is never negative, and a small test set makes it larger.",
    "signed_ece": "Mean confidence minus accuracy. Positive values mean overconfident predictions, negative ones "
    "underconfident predictions.",
    "aurc": "The area under the risk-coverage curve: the share of misclassified images among the n with the highest confidence"
    ", averaged over n. It is the error rate if confidence says nothing, and lower if errors have a low confidence.",
    "eaurc": "The area under the risk-coverage curve minus that of the best order, which has all misclassified images last. 0 "
    "means that each misclassified image is less confident than all others.",
    "adaptive_ece": "Expected calibration error over 15 bins of confidence with the same number of images. Bins of equal width "
    "have most images in the last one.",
    "classwise_ece": "The calibration error of the probability of each class, averaged over classes. Most probabilities are "
    "near zero, so that it is smaller than ECE.",
    "entropy_auc": "One minus the mean predictive entropy, divided by log K for K classes: near 1 where the method is certain. "
    "High values are wanted on test images and low ones on OOD images.",
    "entropy": "The mean entropy of the predictive distribution, in nats: the total uncertainty. It should be low on test "
    "images and high on OOD images.",
    "expected_entropy": "The mean entropy of the single networks, in nats: the part of the uncertainty that they agree on "
    "(aleatoric). What is left of the predictive entropy is the mutual information.",
    "mutual_information": "How much the networks disagree, in nats: the part of the uncertainty that comes from not knowing "
    "the weights (epistemic). It is 0 for a single network.",
    "auroc": "How well predictive entropy separates OOD images from test images: the probability that an OOD image has the "
    "higher entropy. 0.5 is chance.",
    "auroc_expected_entropy": "AUROC of OOD detection by the mean entropy of the single networks, the part of the uncertainty "
    "that they agree on. For a single network it is that by its entropy.",
    "auroc_mutual_information": "AUROC of OOD detection by how much the networks disagree. A single network has none.",
    "auroc_ood_score": "AUROC of OOD detection by the method's own score, such as the density of its features. Few have "
    "one.",
    "aupr": "The average precision of OOD detection by predictive entropy, with OOD images as the positive class. It depends "
    "on how many OOD images there are.",
    "fpr95": "The share of test images that are taken for OOD images where 95 % of the OOD images are detected. Low values are "
    "better.",
    "accuracy@": "The accuracy in the worst case over all attacks of this norm, with perturbations up to ε, on fresh samples "
    "of the networks. An image counts only if no attack makes it misclassified.",
    "known_accuracy@": "The accuracy in the worst case where the attacker attacks the very networks that decide. The gap to "
    "fresh networks is what randomness gains.",
    "degradation": "The accuracy that is lost under attack, in percentage points, averaged over the ε above 0. Low values are "
    "better.",
    "robust_accuracy_auc": "The area under the curve of accuracy against ε, divided by the range of ε. It is 1 if every image "
    "stays correctly classified.",
    "median_distance": "The median size of the smallest perturbation that makes an image misclassified, in the norm of the "
    "attack. Large values are better.",
    "auroc_ood": "AUROC of OOD detection where OOD images are perturbed to look certain, as a mean over ε. Below 0.5 the "
    "uncertainty misleads.",
    "auroc_test": "AUROC of OOD detection where test images are perturbed to look uncertain, as a mean over ε. Below 0.5 the "
    "uncertainty misleads.",
    "auroc_both": "AUROC of OOD detection where OOD images are perturbed to look certain and test images to look uncertain, as "
    "a mean over ε. Below 0.5 the uncertainty misleads.",
    "total_variation": "Half the sum of the absolute differences between the predictive probabilities of the method and those "
    "of the exact posterior, averaged over inputs. 0 is the exact posterior; differences below the floor mean nothing.",
    "total_variation_floor": "The total variation between the predictive distributions of two halves of the chains that "
    "sampled the reference. No method can be shown to be closer than that.",
    "agreement": "The percentage of inputs whose most probable class is the same for the method and for the exact posterior. "
    "High values are better.",
    "rmse": "The root of the mean squared difference between prediction and target, in units of the target. Low values are "
    "better.",
    "coverage50": "The percentage of noisy targets inside the central 50 % predictive interval. A calibrated method has 50.",
    "coverage90": "The percentage of noisy targets inside the central 90 % predictive interval. A calibrated method has 90.",
    "coverage95": "The percentage of noisy targets inside the central 95 % predictive interval. A calibrated method has 95.",
    "width": "The mean width of the interval that holds the central 95 % of the networks' outputs outside the training range, "
    "without noise. A method that knows what it does not know has wide intervals there.",
    "cost/fit/relative": "The time of the fit divided by that of plain MAP training with the whole budget on the same machine. "
    "It can be compared between machines.",
    "cost/fit/seconds": "The time of the fit: processor time on a CPU. It depends on the machine.",
    "cost/predict/steps_per_1000": "The time to predict 1,000 images, in training steps of plain MAP. It can be compared "
    "between machines.",
    "cost/predict/seconds_per_1000": "The time to predict 1,000 images, in seconds. It depends on the machine.",
    "cost/attack/relative": "The time of all attacks and their evaluation, divided by that of plain MAP training. It says what "
    "checking the robustness costs.",
    "cost/attack/seconds": "The time of all attacks and their evaluation, in seconds. It depends on the machine.",
    "cost/peak_memory_bytes": "The memory that the cell took beyond what the process had before. It is measured for the whole "
    "cell, attacks included.",
    "cost/parameters": "The number of trained parameters. An ensemble counts those of all members.",
}
"""By the last part of the name of a score, without the ε behind an @; and by the whole name of a cost."""


def term(name: str) -> str:
    """The key in ``EXPLANATIONS`` of a score or a cost; empty if there is none, as for metrics of third parties."""
    last = name if name.startswith("cost/") else name.rpartition("/")[2]
    key = f"{last.partition('@')[0]}@" if "@" in last else last
    return key if key in EXPLANATIONS else ""
