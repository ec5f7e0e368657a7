"""Messages and replies of the endpoint ``/chat/completions``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kkwarm.types import ChatPrompt


def request_chat(prompt: ChatPrompt) -> dict[str, Any]:
    """The parameters that carry a conversation. Those that continue the model's turn are vLLM's and SGLang's."""
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    body: dict[str, Any] = {"messages": messages}
    if prompt.template_args:
        body["chat_template_kwargs"] = dict(prompt.template_args)
    if prompt.prefix:
        messages.append({"role": "assistant", "content": prompt.prefix})
        body |= {"add_generation_prompt": False, "continue_final_message": True}
    return body


def flatten_choice(choice: Any) -> Any:
    """A choice of a chat as one of a completion: ``text``, and ``reasoning`` where the server has separated it.

    A choice without a message is returned unchanged.
    """
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return choice
    text, thought = _read_content(message.get("content"))
    for name in ("reasoning_content", "reasoning"):  # vLLM's, DeepSeek's; OpenRouter's, Ollama's
        if isinstance(value := message.get(name), str) and value:
            thought = value
            break
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "text": text} | ({"reasoning": thought} if thought else {})


def _read_content(content: Any) -> tuple[Any, str]:
    """Text and reasoning of a message's content, which is a text or (Mistral) a list of parts."""
    if not isinstance(content, list):
        return content, ""
    text, thought = "", ""
    for part in content:
        if isinstance(part, Mapping) and part.get("type") == "thinking":
            inner = part.get("thinking")
            thought += inner if isinstance(inner, str) else str(_read_content(inner)[0] or "")
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            text += part["text"]
    return text, thought


def flatten_usage(usage: Any) -> int | None:
    """The number of tokens of the reasoning, where the server counts them."""
    details = usage.get("completion_tokens_details") if isinstance(usage, Mapping) else None
    tokens = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    return tokens if type(tokens) is int and 0 <= tokens < 2**31 else None
