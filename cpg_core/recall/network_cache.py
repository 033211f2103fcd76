"""Networks that stay ready, as many as fit in so many bytes."""

from __future__ import annotations

from collections.abc import Callable

from cpg_core.model.network import Network

MOST_BYTES = 1 << 30


class NetworkCache:
    """Networks by name; where they would take more than `most_bytes` together, the one asked for longest ago goes.

    One that takes more by itself stays until another is asked for.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._networks: dict[str, Network] = {}  # in the order in which they were asked for
        self._bytes: dict[str, int] = {}

    def get(self, name: str, make: Callable[[], Network]) -> Network:
        """The network of that name, made where it is not there."""
        network = self._networks.pop(name, None)
        if network is None:
            network = make()
            self._bytes[name] = sum(tensor.nbytes for tensor in network.state_dict().values())
        self._networks[name] = network
        while len(self._networks) > 1 and sum(self._bytes.values()) > self._most_bytes:
            oldest = next(iter(self._networks))
            del self._networks[oldest], self._bytes[oldest]
        return network
