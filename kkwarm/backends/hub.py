"""The hub's side of finding a checkpoint: what is cached, what can be fetched, what is refused and why."""

from __future__ import annotations

from functools import lru_cache

from kkwarm.errors import KkwarmError

__all__ = ["ADAPTER", "CONFIG", "hub_file", "line"]

CONFIG, ADAPTER = "config.json", "adapter_config.json"


def has_an_address() -> bool:
    """False without a network: the hub's library would try for half a minute, also for a mistyped folder."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from huggingface_hub.constants import ENDPOINT

    if getproxies():
        return True  # its address is the proxy's business
    try:
        return bool(socket.getaddrinfo(urlsplit(ENDPOINT).hostname, None))
    except OSError:
        return False


@lru_cache(maxsize=64)
def hub_file(name: str) -> str:
    """Path of the cached configuration of a hub id; fetches it where it is not cached."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    offline = not has_an_address()
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
            offline = True  # perhaps only the other file is cached; the hub's retries took half a minute
        except EntryNotFoundError:
            continue
        except Exception as err:  # many transport errors, from several libraries
            cause = line(err)
            raise KkwarmError(
                f"{name}: the hub cannot be reached: {cause}", hint="give a folder, or go online once to cache it"
            ) from None
    raise KkwarmError(
        f"{name} is no folder, and the hub cannot be reached or has no {CONFIG} for it",
        hint="give a checkpoint folder, or go online once so that it is cached",
    )


def line(err: BaseException) -> str:
    """An exception in one line."""
    return f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"
