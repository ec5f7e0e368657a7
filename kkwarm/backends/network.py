"""How a network is called: which arguments its `forward` has, what it keeps of a text, how long a text it takes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from kkwarm.backends.memory import is_out_of_memory
from kkwarm.errors import KkwarmError

if TYPE_CHECKING:
    import torch

__all__ = ["Network"]

_SHORT = 4  # tokens: within any window
_CACHES = ("past_key_values", "cache", "cache_params")  # ``cache``: transformers from 5.24 on; the last: Mamba's


@dataclass(frozen=True, slots=True)
class Network:
    """A causal language model of transformers that can go on from a cache.

    :param plain: every layer keeps all keys and values: no sliding window, no recurrent state.
    :param cache: the name of `forward`'s argument for the cache.
    :param embedded: tokens that it has embeddings of; a tokenizer may know more.
    """

    model: Any
    plain: bool
    cache: str
    positions: bool
    last_only: bool
    embedded: int

    @classmethod
    def inspect(cls, model: Any) -> Self:
        """Looks at a loaded model, or at a LoRA adapter on one.

        :raises KkwarmError: it keeps its past in a way that rows cannot share.
        """
        from kkwarm.backends.kv_cache import keeps_all_keys

        own = (
            model.get_base_model() if hasattr(model, "get_base_model") else model
        )  # peft's forward names few arguments
        kind = type(own).__name__
        taken = inspect.signature(own.forward).parameters
        cache = next((name for name in _CACHES if name in taken), None)
        if cache is None or not getattr(own, "_supports_default_dynamic_cache", lambda: True)():
            raise KkwarmError(f"{kind} keeps its past in a way of its own, which --backend hf cannot run", hint=_ELSE)
        embedded = int(own.get_input_embeddings().weight.shape[0])
        return cls(model, keeps_all_keys(own), cache, "position_ids" in taken, "logits_to_keep" in taken, embedded)

    def __call__(self, ids: Any, mask: Any, positions: Any, cache: Any, padded: bool, begun: bool) -> torch.Tensor:
        """Logits [rows, vocabulary] of the next token.

        :param ids, positions: [rows, new]. :param mask: [rows, columns], False before a row's start.
        :param padded: some row starts later than the others. :param begun: the cache holds what came before `ids`.
        :raises KkwarmError: the model itself fails, other than for memory.
        """
        # A recurrent state has no columns: padding is masked when it is read, and is no matter afterwards.
        masked = not (begun and self.cache == "cache_params") and (padded or not self.plain)
        given = {self.cache: cache, "use_cache": True} | ({"logits_to_keep": 1} if self.last_only else {})
        return self._run(ids, mask if masked else None, positions, **given)[:, -1]

    def whole(self, ids: Any, mask: Any, positions: Any) -> torch.Tensor:
        """Logits [rows, columns, vocabulary] of texts; arguments as above."""
        return self._run(ids, mask, positions)

    def _run(self, ids: Any, mask: Any, positions: Any, **given: Any) -> torch.Tensor:
        import torch

        device = self.model.device
        if self.positions:
            given["position_ids"] = positions.to(device)
        with torch.inference_mode():
            try:
                out = self.model(
                    input_ids=ids.to(device), attention_mask=None if mask is None else mask.to(device), **given
                )
            except Exception as err:
                if is_out_of_memory(err):
                    raise
                cause = f"{type(err).__name__}: {' '.join(str(err).split())[:200]}"
                raise KkwarmError(f"{type(self.model).__name__} cannot be run: {cause}", hint=_ELSE) from err
            logits: torch.Tensor = out.logits
            return logits

    def kept(self) -> tuple[int, int]:
        """Bytes that the model keeps of a row, and of each of its tokens. Measured: configurations name them in too
        many ways, and some for each layer.
        """
        import torch
        from transformers.cache_utils import DynamicCache

        sizes = []
        for length in (_SHORT, 2 * _SHORT):
            cache = DynamicCache(config=self.model.config)
            ids = torch.zeros(1, length, dtype=torch.long)
            self(ids, torch.ones_like(ids, dtype=torch.bool), torch.arange(length)[None, :], cache, False, False)
            sizes.append(sum(_bytes(layer) for layer in cache.layers))
        column = (sizes[1] - sizes[0]) // _SHORT
        return sizes[0] - _SHORT * column, column

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""
        head = self.model.get_output_embeddings()
        return int((head if head is not None else self.model.get_input_embeddings()).weight.shape[0])

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        config = self.model.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 2**31)


def _bytes(layer: Any) -> int:
    """Of the tensors in a layer of a cache: keys and values, or states by number."""
    import torch

    held = [x for value in vars(layer).values() for x in (value.values() if isinstance(value, dict) else [value])]
    return sum(x.numel() * x.element_size() for x in held if isinstance(x, torch.Tensor))


_ELSE = "try --backend vllm, or a server (--backend openai)"
