"""HEAD: the answer to a GET without its body. Over HTTP/2 the server would send the body all the same."""

from granian.rsgi import HTTPProtocol

Headers = list[tuple[str, str]]


class HeadProtocol:
    """Stands in for the protocol of a HEAD request."""

    def __init__(self, protocol: HTTPProtocol) -> None:
        self._protocol = protocol

    async def client_disconnect(self) -> None:
        await self._protocol.client_disconnect()

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._protocol.response_empty(status, [*headers, ("content-length", str(len(body)))])

    def response_empty(self, status: int, headers: Headers) -> None:
        self._protocol.response_empty(status, headers)

    def response_stream(self, status: int, headers: Headers) -> "HeadProtocol":
        self._protocol.response_empty(status, headers)
        return self

    async def send_bytes(self, _data: bytes) -> None:
        """What a stream would send is not wanted."""
