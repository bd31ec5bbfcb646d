"""The peers' side of the benches: PyTorch does a request's work and answers with its best time.

Reads lines of JSON from standard input, {"arm", "n", "d", "c", "rounds"}, and writes {"seconds"} or {"error"}.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SCALE, MARGIN, CENTER_WEIGHT, RATE = 64.0, 0.35, 0.1, 0.5


def cosface(cosine, labels):
    margins = torch.zeros_like(cosine).scatter_(1, labels[:, None], MARGIN)
    return F.cross_entropy(SCALE * (cosine - margins), labels)


def update(centers, embeddings, labels):
    with torch.no_grad():
        pull = torch.zeros_like(centers).index_add_(0, labels, embeddings - centers[labels])
        counts = torch.bincount(labels, minlength=len(centers))[:, None]
        centers += RATE * pull / (1 + counts)


def batch(n, d, c):
    torch.manual_seed(0)
    return torch.randn(n, d, requires_grad=True), torch.randint(c, (n,))


def handwritten_cosface(n, d, c):
    embeddings, labels = batch(n, d, c)
    weight = torch.randn(c, d, requires_grad=True)

    def step():
        cosine = F.linear(F.normalize(embeddings), F.normalize(weight))
        torch.autograd.grad(cosface(cosine, labels), (embeddings, weight))

    return step


def metric_learning_cosface(n, d, c):
    from pytorch_metric_learning.losses import CosFaceLoss

    embeddings, labels = batch(n, d, c)
    loss = CosFaceLoss(c, d, margin=MARGIN, scale=SCALE)

    def step():
        torch.autograd.grad(loss(embeddings, labels), (embeddings, loss.W))

    return step


def soft_lmccl_shared(n, d, c):
    embeddings, labels = batch(n, d, c)
    weight = torch.randn(c, d, requires_grad=True)
    centers = torch.zeros(c, d)

    def step():
        cosine = F.linear(F.normalize(embeddings), F.normalize(weight))
        center = 0.5 * (embeddings - centers[labels]).square().sum(1).mean()
        total = cosface(cosine, labels) + CENTER_WEIGHT * center + F.cross_entropy(SCALE * cosine, labels)
        torch.autograd.grad(total, (embeddings, weight))
        update(centers, embeddings, labels)

    return step


def compact_net(side, dim):
    """The example's network."""
    layers, channels = [], 1
    for wider in (16, 32, 64):
        for stride in (2, 1):
            layers += [
                nn.Conv3d(channels, wider, 3, stride, 1, bias=False),
                nn.BatchNorm3d(wider),
                nn.PReLU(wider),
            ]
            channels = wider
        side = (side + 1) // 2
    features = channels * side**3
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, dim, bias=False), nn.BatchNorm1d(dim))


def train_step(n, d, c):
    """One step of Soft LMCCL with a softmax head of its own, as the example makes it; `d` is the side."""
    torch.manual_seed(0)
    dim = 128
    net = compact_net(d, dim)
    weight = nn.Parameter(torch.randn(c, dim))
    head = nn.Linear(dim, c)
    centers = torch.zeros(c, dim)
    volumes, labels = torch.randn(n, 1, d, d, d), torch.randint(c, (n,))
    optimizer = torch.optim.AdamW([*net.parameters(), weight, *head.parameters()], lr=1e-3)

    def step():
        embeddings = net(volumes)
        cosine = F.linear(F.normalize(embeddings), F.normalize(weight))
        center = 0.5 * (embeddings - centers[labels]).square().sum(1).mean()
        total = cosface(cosine, labels) + CENTER_WEIGHT * center + F.cross_entropy(head(embeddings), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        update(centers, embeddings, labels)
        return total.item()

    return step


ARMS = {
    "pytorch_handwritten_cosface": handwritten_cosface,
    "pytorch_metric_learning_cosface": metric_learning_cosface,
    "pytorch_soft_lmccl_shared": soft_lmccl_shared,
    "pytorch_train_step": train_step,
}


def best(step, rounds):
    seconds = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


def main():
    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        rounds = request.pop("rounds")
        key = tuple(request.values())
        try:
            if key not in made:
                made[key] = ARMS[request.pop("arm")](**request)
                made[key]()
            answer = {"seconds": best(made[key], rounds), "version": torch.__version__}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
