"""Protocols: how a benchmark's questions are put to a model, and how its answers are read."""

from kkwarm.protocols.built_in import BUILT_IN, PAPER, PLAIN
from kkwarm.protocols.prompts import PromptOptions, PromptRenderer, make_renderer, prompt_hash
from kkwarm.protocols.readers import (
    AutoReader,
    StatedReader,
    TagReader,
    TextReader,
    has_reasoning,
    split_tags,
    strip_end_tokens,
)
from kkwarm.protocols.reasoning import ReasoningSplitter, ThinkTags, detect_think_tags, parse_think_tags

__all__ = [
    "BUILT_IN",
    "PAPER",
    "PLAIN",
    "AutoReader",
    "PromptOptions",
    "PromptRenderer",
    "ReasoningSplitter",
    "StatedReader",
    "TagReader",
    "TextReader",
    "ThinkTags",
    "detect_think_tags",
    "has_reasoning",
    "make_renderer",
    "parse_think_tags",
    "prompt_hash",
    "split_tags",
    "strip_end_tokens",
]
