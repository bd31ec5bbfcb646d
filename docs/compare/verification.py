"""Prints the table of docs/speed.md: `soft-lmccl verify` beside programs that report the same figures, on one file.

    pip install scikit-learn torchmetrics evalify pyeer "setuptools<81"    # pyeer asks for its pkg_resources
    python docs/compare/verification.py target/release/soft-lmccl [N] [D]

Each program runs in a process of its own, twice, with all threads that it takes by itself; the better time counts. It
reads the embeddings and labels, scores all pairs by their cosine and computes AUC, EER and TAR at three FARs. Seconds are
those from the file to the figures: a peer's without its imports, soft-lmccl's with its start. Memory is the highest of the
whole process. Digits tell how far a figure agrees with that of soft-lmccl, whose scores are rounded to 2^-22.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

FARS = [1e-2, 1e-3, 1e-4]


def pairs(embeddings, labels):
    """Scores of all pairs, and which of them match."""
    import numpy as np

    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), 1)
    return (unit @ unit.T)[first, second], labels[first] == labels[second]


def tar_at(far, tar):
    """The last point of a curve whose FAR is at most the target."""
    return [float(tar[(far <= target).nonzero()[0][-1]]) for target in FARS]


def scikit_learn(embeddings, labels):
    from sklearn.metrics import roc_auc_score, roc_curve

    def work():
        scores, same = pairs(embeddings, labels)
        far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
        nearest = abs(far - (1 - tar)).argmin()
        return roc_auc_score(same, scores), (far[nearest] + 1 - tar[nearest]) / 2, tar_at(far, tar)

    return work


def torchmetrics(embeddings, labels):
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_eer, binary_roc

    def work():
        scores, same = (torch.from_numpy(array) for array in pairs(embeddings, labels))
        scores, same = (scores + 1) / 2, same.long()  # other than from 0 to 1 they would go through a sigmoid
        far, tar, _ = binary_roc(scores, same)
        return binary_auroc(scores, same).item(), binary_eer(scores, same).item(), tar_at(far.numpy(), tar.numpy())

    return work


def evalify(embeddings, labels):
    from evalify import Experiment

    def work():
        experiment = Experiment()
        experiment.run(
            embeddings,
            labels,
            metrics="cosine_similarity",
            same_class_samples="full",
            different_class_samples=("full", "full"),
        )
        [auc], [eer] = experiment.get_roc_auc().values(), experiment.calculate_eer().values()
        found = [experiment.find_threshold_at_fpr(far)["cosine_similarity"]["TPR"] for far in FARS]
        return auc, eer["EER"], found

    return work


def pyeer(embeddings, labels):
    from pyeer.eer_info import get_eer_stats

    def work():
        scores, same = pairs(embeddings, labels)
        stats = get_eer_stats(scores[same], scores[~same])
        return stats.auc, stats.eer, [1 - stats.fmr100, 1 - stats.fmr1000, None]

    return work


PEERS = {"scikit-learn": scikit_learn, "torchmetrics": torchmetrics, "evalify": evalify, "pyeer": pyeer}


def run_peer(name, folder):
    """In a process of its own: prints seconds and figures."""
    import numpy as np

    # What a peer imports is there before its time begins.
    placeholder = np.eye(2, dtype="f4"), np.zeros(2, dtype="i8")
    PEERS[name](*placeholder)
    start = time.perf_counter()
    embeddings, labels = (np.load(os.path.join(folder, file)) for file in ("e.npy", "l.npy"))
    auc, eer, tar = PEERS[name](embeddings, labels)()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "auc": float(auc), "eer": float(eer), "tar": tar}))


def measured(command):
    """What a program prints, its seconds and its highest memory in MiB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status != 0:
            return None, seconds, 0
        output.seek(0)
        lines = output.read().decode().strip().splitlines()
    return json.loads(lines[-1]), seconds, usage.ru_maxrss / 1024


def digits(found, ours):
    """How many digits of two figures are one."""
    if found is None:
        return "-"
    if abs(found - ours) < 1e-15:
        return "all"
    import math

    return str(max(0, math.floor(-math.log10(abs(found - ours) / abs(ours)))))


def cpu():
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main(program, n=2000, dim=128):
    import numpy as np

    rng = np.random.default_rng(1)
    classes = n // 10
    labels = np.arange(n) % classes
    embeddings = rng.uniform(-1, 1, (classes, dim))[labels] + rng.uniform(-1.9, 1.9, (n, dim))
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, "e.npy"), embeddings.astype("f4"))
        np.save(os.path.join(folder, "l.npy"), labels)
        files = [os.path.join(folder, file) for file in ("e.npy", "l.npy")]
        best = lambda command: min((measured(command) for _ in range(2)), key=lambda run: run[1])
        ours, seconds, memory = best([program, "verify", *files, "--json"])
        version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()[-1]
        print(f"{datetime.date.today()}, {cpu()}, {os.cpu_count()} cores, Python {platform.python_version()}: ", end="")
        print(f"N = {n:,}, D = {dim}, {classes} classes, {ours['pairs']:,} pairs\n")
        print("| program | seconds | memory, MiB | AUC | EER | digits: AUC | EER | TAR at FAR 1e-2 | 1e-3 | 1e-4 |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        print(f"| soft-lmccl {version} | {seconds:.2f} | {memory:.0f} | {ours['auc']:.8f} | {ours['eer']:.8f} | | | | | |")
        for name in PEERS:
            found, _, memory = best([sys.executable, os.path.abspath(__file__), "--peer", name, folder])
            name = f"{name} {importlib.metadata.version(name)}"
            if found is None:
                print(f"| {name} | failed | | | | | | | | |")
                continue
            # pyeer's EER is the one of FVC2000, which soft-lmccl prints beside its own.
            eer = ours["standard"]["eer_fvc"] if name.startswith("pyeer") else ours["eer"]
            agree = [digits(found["auc"], ours["auc"]), digits(found["eer"], eer)]
            agree += [digits(tar, at["tar"]) for tar, at in zip(found["tar"], ours["tar_at_far"])]
            figures = f"{found['seconds']:.2f} | {memory:.0f} | {found['auc']:.8f} | {found['eer']:.8f}"
            print(f"| {name} | {figures} | {' | '.join(agree)} |")


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        run_peer(*sys.argv[2:])
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
