"""HTTP/1.1 by the standard library: connections that are kept, answers that are streamed.

A request that meets a kept connection which the server has closed meanwhile is sent once more on a fresh one. That is
safe because nothing a client sends does harm twice: batches carry an Idempotency-Key, all else only reads.
"""

import contextlib
import http.client
import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from novamesh.client.errors import ClientError, Incomplete, Unreachable, read_error

CONNECT_S = 10.0
PIECE_BYTES = 256 * 1024
_ERROR_BYTES = 4 * 1024 * 1024
# An answer that came before the request was whole leaves the connection where nobody knows.
_BROKEN = (BrokenPipeError, ConnectionResetError)


class Connections:
    """The connections to one server. For any number of threads: each has a connection of its own while it needs one."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises :class:`ClientError` if ``url`` is no address; connects to nothing yet."""
        self.url = url.rstrip("/")
        self._headers = dict(headers)
        parts = _parse(url)
        self._secure = parts.scheme == "https"
        self._host, self._port, self._base = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls: ssl.SSLContext | None = None
        self._idle: deque[http.client.HTTPConnection] = deque()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], silent_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        """Send; the answer, whose status is below 400. The connection is kept if all of it was read.

        ``silent_s`` is how long the server may be silent. Raises :class:`Unreachable` and :class:`Refused`.
        """
        try:
            connection, answer = self._exchange(method, path, body, {**self._headers, **headers}, silent_s)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self._say(error)) from None
        try:
            if answer.status >= 300:
                raise read_error(answer.status, _read_some(answer), answer.headers)
            yield answer
        finally:
            if answer.isclosed() and not answer.will_close:
                self._idle.append(connection)
            else:
                answer.close()
                connection.close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], silent_s: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        try:
            connection, kept = self._idle.pop(), True
        except IndexError:
            connection, kept = self._make(), False
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(silent_s)
            with contextlib.suppress(*_BROKEN):  # the server may have answered before it had read all
                connection.request(method, self._base + path, body, headers)
            return connection, connection.getresponse()
        except TimeoutError:
            connection.close()
            raise
        except (OSError, http.client.HTTPException):
            connection.close()
            if not kept:
                raise
            self.close()  # the others are as old
            return self._exchange(method, path, body, headers, silent_s)
        except BaseException:
            connection.close()
            raise

    def _make(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_S, context=self._tls)

    def _say(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({error.verify_message}); SSL_CERT_FILE names one that is"
        elif isinstance(error, ConnectionRefusedError):
            why = "nobody listens there; start the node with novamesh serve, or give --url"
        elif isinstance(error, TimeoutError):
            why = "it is silent; try again, or look at its log"
        else:
            why = f"{getattr(error, 'strerror', None) or str(error) or type(error).__name__}; check --url"
        return f"no answer from {self.url}: {why}"


def pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises :class:`Incomplete` if it is cut off."""
    try:
        while piece := answer.read1(PIECE_BYTES):
            yield piece
        # A body of announced length that ends early is no error to read1.
        if answer.length:
            raise Incomplete("the answer was cut off; what came is not whole")
        answer.read()  # nothing more, but now it knows that it has ended
    except (OSError, http.client.HTTPException):
        raise Incomplete("the answer was cut off; what came is not whole") from None


def lines(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body line by line, as it comes. Raises :class:`Incomplete` if it is cut off or silent."""
    try:
        while line := answer.readline():
            yield line
    except TimeoutError:
        raise Incomplete("the server is silent") from None
    except (OSError, http.client.HTTPException):
        raise Incomplete("the connection has ended") from None


def _read_some(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(_ERROR_BYTES)
    except (OSError, http.client.HTTPException):
        return b""


def _parse(url: str) -> SplitResult:
    wrong = ClientError(f"{url[:200]!r} is not the address of a node; give one such as http://127.0.0.1:8000")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise wrong from None
    if not usable:
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ClientError(
            "the address of a node has no user, query or fragment; give one such as http://127.0.0.1:8000"
        )
    return parts
