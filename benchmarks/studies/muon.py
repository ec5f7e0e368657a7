"""Muon, whose updates are orthogonalised, and the adding up of tensors over the processes of one machine."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Muon", "Peers"]


class Peers:
    """The processes of a run; they add up tensors through shared memory (quicker here than gloo's sockets)."""

    def __init__(self, rank: int, buffers: torch.Tensor, barrier: Any) -> None:
        self.rank, self.world, self.buffers, self.barrier = rank, len(buffers), buffers, barrier

    def add_up(self, flat: torch.Tensor) -> torch.Tensor:
        """The sum over all processes of a flat tensor of one size, the same bits in each of them."""
        if self.world == 1:
            return flat
        mine = self.buffers[:, : flat.numel()]
        mine[self.rank].copy_(flat)
        self.barrier.wait()
        total = mine.sum(0)
        self.barrier.wait()  # nobody may write again before all have read
        return total


class Muon:
    """Momentum whose update is orthogonalised (Newton-Schulz); matrices of one shape are treated in one batch."""

    momentum = 0.95
    weight_decay = 0.01

    def __init__(self, matrices: list[torch.Tensor], peers: Peers) -> None:
        self.peers = peers
        self.groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for matrix in matrices:
            self.groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self.buffers = {shape: torch.zeros(len(g), *shape, device=g[0].device) for shape, g in self.groups.items()}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        updates = []
        for shape, group in self.groups.items():
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            buffer = self.buffers[shape]
            buffer.lerp_(gradient, 1 - self.momentum)
            wanted = gradient.lerp(buffer, self.momentum)
            update = torch.zeros_like(wanted)  # each process does its part of the matrices
            part = slice(self.peers.rank, None, self.peers.world)
            update[part] = _orthogonal(wanted[part])
            updates.append(update)
        flat = self.peers.add_up(torch.cat([u.flatten() for u in updates]))
        for (shape, group), update in zip(self.groups.items(), flat.split([u.numel() for u in updates]), strict=True):
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, change in zip(group, update.view(-1, *shape), strict=True):
                parameter.mul_(1 - lr * self.weight_decay).add_(change, alpha=-lr * scale)


def _orthogonal(x: torch.Tensor) -> torch.Tensor:
    tall = x.shape[1] > x.shape[2]
    y = (x.mT if tall else x).bfloat16()
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    return (y.mT if tall else y).float()
