"""Finds a checkpoint on the Hugging Face hub or in its cache, and explains why one is unavailable."""

from __future__ import annotations

from functools import lru_cache

from kkwarm.errors import KkwarmError

CONFIG, ADAPTER = "config.json", "adapter_config.json"


def hub_resolves() -> bool:
    """Whether the hub's address resolves. Without a network its library would retry for half a minute, also for a
    misspelled folder.
    """
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub.constants import ENDPOINT

    if getproxies():
        return True  # the proxy resolves it
    try:
        return bool(socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None))
    except OSError:
        return False


@lru_cache(maxsize=64)
def hub_file(name: str) -> str:
    """Path of the cached configuration of a hub id, which is downloaded if necessary."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    offline = not hub_resolves()
    for file in (CONFIG, ADAPTER):
        try:
            return hf_hub_download(name, file, local_files_only=offline)
        except GatedRepoError:
            raise KkwarmError(
                f"{name} is gated on the hub", hint="ask for access there, then `hf auth login`"
            ) from None
        except (RepositoryNotFoundError, HFValidationError):
            raise KkwarmError(f"{name} is neither a folder nor a model on the hub") from None
        except LocalEntryNotFoundError:
            offline = True  # the other file may be cached; do not wait for the hub's retries again
        except EntryNotFoundError:
            continue
        except Exception as err:  # several libraries raise many transport errors
            raise KkwarmError(
                f"{name}: the hub cannot be reached: {one_line(err)}",
                hint="give a folder, or go online once to cache it",
            ) from None
    raise KkwarmError(
        f"{name} is no folder, and the hub cannot be reached or has no {CONFIG} for it",
        hint="give a checkpoint folder, or go online once to cache it",
    )


def one_line(err: BaseException) -> str:
    """An exception's type and message in one line."""
    return f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
