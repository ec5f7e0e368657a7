"""Log-likelihoods of given texts with a network of transformers, in batches of similar length."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kkwarm.backends.base import Likelihood
from kkwarm.backends.memory import available_memory, is_out_of_memory, release_memory
from kkwarm.backends.network import Network
from kkwarm.backends.text import check_token_ids
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
_MAX_TOKENS = 16_384  # tokens in a batch: more gains nothing on a CPU, and little on a GPU
_MAX_ROWS = 256

Texts = Sequence[tuple[Sequence[int], Sequence[int]]]
Pad = Callable[[list[list[int]]], "tuple[torch.Tensor, torch.Tensor]"]


@dataclass(frozen=True, slots=True)
class _Row:
    """One forward pass: the tokens that the network reads, and the texts (by number) that they belong to, each with the
    number of tokens to score. Only the last of these tokens is not read.
    """

    ids: tuple[int, ...]
    texts: tuple[tuple[int, int], ...]

    @property
    def scored(self) -> int:
        return max(n for _, n in self.texts)


def score_texts(network: Network, texts: Texts, pad: Pad, batch_size: int | None) -> list[Likelihood]:
    """See `kkwarm.backends.base.LikelihoodBackend.likelihoods`.

    :param pad: pads rows of ids on the left; returns ids [rows, columns] and the column at which each row starts.
    :param batch_size: rows at a time; None: as memory allows. It is halved when memory runs out.
    :raises KkwarmError: a single row does not fit into memory, or a continuation exceeds the context.
    """
    results: list[Likelihood] = [(0.0, True)] * len(texts)
    rows = _make_rows(texts, network)
    limit = batch_size or _MAX_ROWS
    first = 0
    while first < len(rows):
        batch = list(_batch(rows, first, limit, None if batch_size else _token_budget(network, rows[first])))
        try:
            scores = _score_rows(network, batch, pad, texts)
        except (RuntimeError, MemoryError) as err:
            if not is_out_of_memory(err):
                raise
            cause = " ".join(str(err).split())[:200]
            if len(batch) <= 1:
                raise KkwarmError(
                    f"out of memory with one text at a time ({cause})", hint="use a smaller model"
                ) from err
            limit = max(1, len(batch) // 2)
            release_memory()
            log.warning("out of memory: continuing with %d texts at a time", limit)
            continue
        for number, score in scores:
            results[number] = score
        first += len(batch)
    return results


def _make_rows(texts: Texts, network: Network) -> list[_Row]:
    """The forward passes, the longest first, so that memory runs out early if it does."""
    groups: defaultdict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, (context, continuation) in enumerate(texts):
        if not context or not continuation:
            raise KkwarmError("a text to score has no context or no continuation", hint="see the task's choices")
        if len(continuation) > network.context:
            raise KkwarmError(f"a continuation has {len(continuation)} tokens, the model's context {network.context}")
        ids = (*context, *continuation)[-(network.context + 1) :]
        check_token_ids("a text to score", ids, network.embedded)
        groups[ids[:-1]].append((number, len(continuation)))
    rows = [_Row(ids, tuple(members)) for ids, members in groups.items()]
    rows.sort(key=lambda row: -len(row.ids))
    return rows


def _token_budget(network: Network, longest: _Row) -> int:
    """Tokens in a batch, padding included: the logits in fp32, twice, must fit into a quarter of the free memory."""
    share = longest.scored / len(longest.ids) if network.takes_logits_to_keep else 1.0
    per_token = 8 * network.vocabulary * share + 64 * network.model.config.get_text_config().hidden_size
    return int(min(_MAX_TOKENS, 0.25 * available_memory(network.model.device) / per_token))


def _batch(rows: Sequence[_Row], first: int, limit: int, budget: int | None) -> Iterator[_Row]:
    """Rows from `first` on: at most `limit`, and with padding at most `budget` tokens, but at least one."""
    width = len(rows[first].ids)
    count = limit if budget is None else min(limit, max(1, budget // width))
    yield from rows[first : first + count]


def _score_rows(network: Network, rows: Sequence[_Row], pad: Pad, texts: Texts) -> list[tuple[int, Likelihood]]:
    """(number of the text, its likelihood) for all texts of the rows."""
    import torch

    ids, start = pad([list(row.ids) for row in rows])
    columns = torch.arange(ids.shape[1])[None, :]
    positions = (columns - start[:, None]).clamp_(min=0)
    last = max(row.scored for row in rows)
    with torch.inference_mode():
        logits = network.all_logits(ids, columns >= start[:, None], positions, last)
        table = torch.log_softmax(logits.float(), -1)  # [rows, last, vocabulary]
        greedy = table.argmax(-1).cpu().numpy()
        members = [(r, number, n) for r, row in enumerate(rows) for number, n in row.texts]
        flat_rows = np.concatenate([np.full(n, r) for r, _, n in members])
        flat_columns = np.concatenate([np.arange(last - n, last) for _, _, n in members])
        flat_ids = np.concatenate([np.asarray(texts[number][1], np.int64) for _, number, _ in members])
        index = [torch.from_numpy(a).to(table.device) for a in (flat_rows, flat_columns, flat_ids)]
        scores = table[index[0], index[1], index[2]].double().cpu().numpy()
    results = []
    at = 0
    for r, number, n in members:
        is_greedy = bool((greedy[r, last - n :] == flat_ids[at : at + n]).all())
        results.append((number, (float(scores[at : at + n].sum()), is_greedy)))
        at += n
    return results
