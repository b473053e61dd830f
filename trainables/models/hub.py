"""The model and data hub, when it cannot be reached: known at once instead of after a minute of retries."""

import os
import socket
from contextlib import suppress
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 3.0


def offline_if_unreachable() -> None:
    """Switch the hub clients of this process to offline mode, that is to their caches, when no connection can be made.

    Nothing happens behind a proxy, where a connection of our own says nothing, or when the user has decided with
    ``HF_HUB_OFFLINE``.
    """
    import huggingface_hub

    huggingface_hub.utils.logging.set_verbosity_error()
    decided = "HF_HUB_OFFLINE" in os.environ or "TRANSFORMERS_OFFLINE" in os.environ
    if decided or any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ):
        return
    address = urlsplit(huggingface_hub.constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    with suppress(OSError), socket.create_connection((address.hostname or "", port), timeout=CONNECT_TIMEOUT_S):
        return
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    import datasets

    datasets.config.HF_HUB_OFFLINE = True
