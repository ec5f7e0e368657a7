"""trl's GRPOTrainer without work that cannot change the result. Imports trl: import it where a run trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from trl import GRPOTrainer

from kkwarm.train import distributed
from kkwarm.train.trainer_setup import QuietTrainer


class RlvrTrainer(QuietTrainer, GRPOTrainer):  # type: ignore[misc]
    """Skips completions whose advantage is 0, and padding that all rows of a batch share.

    A completion of advantage 0 has no gradient where the loss is a mean over completions, weighted by advantage only.
    """

    batch_examples: Sequence[int] = ()  # for `Rollout.generate`: the number of each prompt's example

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self.batch_examples = [row["example"] for row in inputs]
        batch = super()._generate_and_score_completions(inputs)
        if self.model.training and self._can_drop_zero_advantages():
            return drop_zero_advantages(batch, self.args.steps_per_generation)
        return batch

    def _can_drop_zero_advantages(self) -> bool:
        return bool(
            self.loss_type in ("dr_grpo", "grpo")
            and self.beta == 0.0
            and self.top_entropy_quantile == 1.0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
        )

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        return super()._compute_loss(model, trim_padding(inputs))


def drop_zero_advantages(batch: dict[str, Any], parts: int) -> dict[str, Any]:
    """Drops rows of advantage 0, but keeps a multiple of `parts` rows, and as many in every process.

    Advantages are scaled so that a mean over the remaining rows equals the mean over all of them.
    """
    advantages = batch["advantages"]
    total = advantages.shape[0]
    nonzero = advantages != 0
    # trl gathers one number per row from all processes, so they need equally many rows.
    count = distributed.all_reduce_max(max(parts, -(-int(nonzero.sum()) // parts) * parts))
    if count >= total:
        return batch
    # A stable sort keeps the order of the rows: nonzero ones first, then as many others as are needed.
    rows = torch.argsort((~nonzero).int(), stable=True)[:count]
    out = {k: v[rows] if torch.is_tensor(v) and v.ndim and v.shape[0] == total else v for k, v in batch.items()}
    out["advantages"] = out["advantages"] * (count / total)
    return out


def trim_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Removes the columns that are padding in every row: left of the prompts, right of the completions."""
    prompt, completion = inputs["prompt_mask"], inputs["completion_mask"]
    start = int(prompt.any(0).int().argmax())
    width = max(1, int(completion.sum(1).max()))
    out = dict(inputs)
    for name, value in inputs.items():
        if name in ("prompt_ids", "prompt_mask"):
            out[name] = value[:, start:]
        elif torch.is_tensor(value) and value.shape == completion.shape:
            out[name] = value[:, :width]
    return out
