"""A server that answers what a test tells it to, request by request, and keeps what it was sent."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[Any]:
        events: list[Any] = json.loads(self.body)["events"]
        return events


class Answer(NamedTuple):
    """``cut``: the connection ends after the body, whatever Content-Length said. No status: no answer at all."""

    status: int = 200
    body: bytes | object = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


class Scripted:
    """``answer`` makes the answer to each request; they may come at the same time."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):  # a client that went away
                    super().handle_one_request()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.respond(self, Request(self.command, self.path, headers, body))

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def respond(self, handler: BaseHTTPRequestHandler, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            answer = self._answer(request)
        if not answer.status:
            handler.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) + 100 * answer.cut))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = answer.cut

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def scripted(*answers: Answer | Callable[[Request], Answer]) -> Iterator[Scripted]:
    """A server with these answers, of which the last goes on for ever."""
    waiting = list(answers)

    def next_answer(request: Request) -> Answer:
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return found if isinstance(found, Answer) else found(request)

    server = Scripted(next_answer)
    try:
        yield server
    finally:
        server.close()


def accept(request: Request) -> Answer:
    """As a node that takes every batch."""
    return Answer(202, {"accepted": True, "events": len(request.events), "batch_id": "b_" + 28 * "0"})
