"""trl's GRPOTrainer without work that cannot change the result. It imports trl: import it where it trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from trl import GRPOTrainer

from kkwarm.train import distributed
from kkwarm.train.rollout import Rollouts
from kkwarm.types import Example

__all__ = ["Policy", "with_signal"]


class Policy(GRPOTrainer):  # type: ignore[misc]
    """Leaves out completions whose advantage is 0, and padding that a whole batch shares.

    Such a completion has no gradient where the loss is a mean over completions, each weighted by its advantage only.
    """

    examples: Sequence[
        Example
    ] = ()  # what the column ``example`` points into: rewards are judged while others generate

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: one would be written at every save."""

    def _send_telemetry(self) -> None:
        """None: nobody counts kkwarm's users."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        if isinstance(self.rollout_func, Rollouts):
            self.rollout_func.examples = [self.examples[row["example"]] for row in inputs]
        batch = super()._generate_and_score_completions(inputs)
        return with_signal(batch, self.args.steps_per_generation) if self.model.training and self._skips() else batch

    def _skips(self) -> bool:
        return bool(
            self.loss_type in ("dr_grpo", "grpo")
            and self.beta == 0.0
            and self.top_entropy_quantile == 1.0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
        )

    def _compute_loss(self, model: Any, inputs: Any) -> Any:
        return super()._compute_loss(model, trimmed(inputs))


def with_signal(batch: dict[str, Any], parts: int) -> dict[str, Any]:
    """The rows whose advantage is not 0, filled up to a multiple of `parts`; advantages are scaled so that a mean over
    the rows that remain equals the mean over all of them.
    """
    advantages = batch["advantages"]
    total = advantages.shape[0]
    useful = advantages != 0
    count = distributed.all_reduce_max(
        max(parts, -(-int(useful.sum()) // parts) * parts)
    )  # trl gathers a number for each row
    if count >= total:
        return batch
    # Stable, so the order of the rows stays: those with a signal first, then as many others as are needed.
    kept = torch.argsort((~useful).int(), stable=True)[:count]
    out = {k: v[kept] if torch.is_tensor(v) and v.ndim and v.shape[0] == total else v for k, v in batch.items()}
    out["advantages"] = out["advantages"] * (count / total)
    return out


def trimmed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Without the columns that are padding in every row: left of the prompts, right of the completions."""
    prompt, completion = inputs["prompt_mask"], inputs["completion_mask"]
    first = int(prompt.any(0).int().argmax())
    width = max(1, int(completion.sum(1).max()))
    out = dict(inputs)
    for name in ("prompt_ids", "prompt_mask"):
        out[name] = out[name][:, first:]
    for name, value in inputs.items():
        if name not in ("prompt_ids", "prompt_mask") and torch.is_tensor(value) and value.shape == completion.shape:
            out[name] = value[:, :width]
    return out
