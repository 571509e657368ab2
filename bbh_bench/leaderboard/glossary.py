"""What the words and scores of a board mean."""

GLOSSARY = """## How to read this

Values are means over seeds ± half of their 95 % t interval. The arrows ↓ and ↑ say whether lower or higher values are
better. A dash (–) means that a value does not apply or was not measured.

- *Rank* is 1 and the number of methods that are better in the task's first score, by paired tests on the same seeds and
  test images, corrected for their number (Holm). Methods that cannot be told apart share a rank. **Bold** marks a value
  that is better than that of each other method. Both are wrong in at most 5 % of boards on which nothing differs. Bold
  compares one method with the others, ranks compare all pairs and are corrected for more: a bold value may share its rank.
- *Provisional* rows, marked with an asterisk, have fewer than three seeds. They get no rank and no bold, and take no part
  in comparisons.
- NLL and error are compared over seeds and test images: a difference should be there with other seeds and with other
  images. All other scores are compared over seeds: the difference is known for these images only.
- *Temperature-scaled NLL*: the NLL after the probabilities were sharpened or softened by the one temperature that is
  best on one half of the test images, measured on the other half, both ways. It compares what methods know apart from
  how confident they are (Ashukha et al. 2020); with few misclassified images it varies much between seeds.
- *Signed calibration error*: the mean confidence in the predicted class minus the accuracy, so that positive values mean
  overconfident and negative ones underconfident. Errors of opposite signs cancel, unlike in ECE.
- *Deep-ensemble equivalent*: how many independently trained networks, averaged, reach the temperature-scaled NLL of the
  method; ensembles are formed from the seeds of `map`. *< 1* means worse than a single network, *> 10* better than the
  largest ensemble that the seeds allow.
- *Probability of better / equal / worse*: how probable it is, given the seeds, that the mean difference of two methods
  is in favour of the first, too small to matter, or in favour of the second (Bayesian t test, Benavoli et al. 2017).
  Too small to matter is a difference inside the score's *region of practical equivalence (ROPE)*, such as half a point
  of error.
- *Pareto front*: the methods that no other method equals or beats in every one of the scores shown, with at least one
  of them better. Each other method can be replaced by one that is at least as good in all of them.
- *Entropy AUC*: the area under the cumulative distribution function of the predictive entropy, where the entropy is
  divided by log K for K classes. It equals 1 − mean entropy / log K. High values mean low uncertainty: they are
  wanted on the test set, and low values on out-of-distribution (OOD) images. It does not say how well the two sets
  can be separated.
- *OOD AUROC*, *AUPR* and *FPR95*: how well predictive entropy detects OOD images, which are the positive class. Pages of
  tasks also have the AUROC by the two parts of the entropy, and by a score that some methods have of their own.
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
