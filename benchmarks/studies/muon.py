"""The Muon optimizer, and an all-reduce over the processes of one machine."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Muon", "ProcessGroup"]


class ProcessGroup:
    """The processes of a run. They sum tensors through shared memory, which is faster here than gloo's sockets."""

    def __init__(self, rank: int, buffers: torch.Tensor, barrier: Any) -> None:
        self.rank, self.world, self.buffers, self.barrier = rank, len(buffers), buffers, barrier

    def all_reduce(self, flat: torch.Tensor) -> torch.Tensor:
        """The sum of a flat tensor over all processes, bitwise equal in each of them."""
        if self.world == 1:
            return flat
        part = self.buffers[:, : flat.numel()]
        part[self.rank].copy_(flat)
        self.barrier.wait()
        total = part.sum(0)
        self.barrier.wait()  # no process may write again before all have read
        return total


class Muon:
    """Momentum with orthogonalized updates (Newton-Schulz). Matrices of one shape are processed in one batch."""

    momentum = 0.95
    weight_decay = 0.01

    def __init__(self, matrices: list[torch.Tensor], group: ProcessGroup) -> None:
        self.group = group
        self.by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for matrix in matrices:
            self.by_shape.setdefault(tuple(matrix.shape), []).append(matrix)
        self.buffers = {shape: torch.zeros(len(g), *shape, device=g[0].device) for shape, g in self.by_shape.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        updates = []
        for shape, matrices in self.by_shape.items():
            gradient = torch.stack([p.grad for p in matrices if p.grad is not None])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            direction = gradient.lerp(buffer, self.momentum)
            update = torch.zeros_like(direction)  # each process computes its share of the matrices
            share = slice(self.group.rank, None, self.group.world)
            update[share] = _orthogonalize(direction[share])
            updates.append(update)
        flat = self.group.all_reduce(torch.cat([u.flatten() for u in updates]))
        for (shape, matrices), update in zip(
            self.by_shape.items(), flat.split([u.numel() for u in updates]), strict=True
        ):
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(matrices, update.view(-1, *shape), strict=True):
                parameter.mul_(1 - lr * self.weight_decay).add_(change, alpha=-lr * scale)


def _orthogonalize(x: torch.Tensor) -> torch.Tensor:
    tall = x.shape[1] > x.shape[2]
    y = (x.mT if tall else x).bfloat16()
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    return (y.mT if tall else y).float()
