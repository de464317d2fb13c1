"""How long the few-shot regression takes: 1000 classes, 10 shots, 1024 features, 20 strengths.

    python benchmarks/fewshot.py --out benchmarks/results/fewshot.json

Solving means: from the support set to the weights of all strengths. The peer is scikit-learn's
Ridge, once a strength, on the same whitened features in the same precision. In turn, several
rounds, medians. Scoring 5,000 test images at all strengths is measured beside it.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.linear_model import Ridge

from mlpmixer.evaluation.ridge import fit
from mlpmixer.runtime import keep_freed_memory, machine

CLASSES, SHOTS, FEATURES, STRENGTHS, TESTED = 1000, 10, 1024, 20, 5000


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    strengths = [2.0**power for power in range(-10, STRENGTHS - 10)]
    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    centres = torch.randn(CLASSES, FEATURES)
    support = centres[labels] + torch.randn(len(labels), FEATURES)
    tested = torch.randn(TESTED, FEATURES)
    whitened = ((support - support.mean(0)) / support.std(0)).double().numpy()
    targets = (2 * torch.nn.functional.one_hot(labels, CLASSES) - 1).double().numpy()

    def solve() -> None:
        sweep = fit(support, labels, CLASSES, strengths)
        for strength in sweep.strengths:
            (sweep.directions / (sweep.eigenvalues + strength)) @ sweep.targets  # (D + 1, K)

    def solve_and_score() -> None:
        for scores in fit(support, labels, CLASSES, strengths).scores(tested):
            scores.argmax(1)

    def peer() -> None:
        for strength in strengths:
            Ridge(alpha=strength, solver="cholesky").fit(whitened, targets)

    works = {"solve": solve, "solve and score": solve_and_score, "scikit-learn, solve": peer}
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(options.rounds)]
    medians = {name: round(statistics.median(r[name] for r in rounds), 2) for name in works}
    result = {
        "what": f"{CLASSES} classes, {SHOTS} shots, {FEATURES} features, {STRENGTHS} strengths, "
        f"float64; scores of {TESTED} images; seconds",
        "command": "python benchmarks/fewshot.py --out benchmarks/results/fewshot.json",
        "machine": machine(torch.device("cpu")),
        "rounds": options.rounds,
        "seconds": medians,
        "ratio_to_scikit_learn": round(medians["scikit-learn, solve"] / medians["solve"], 1),
    }
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
