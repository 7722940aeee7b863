"""A client for timing: one kept connection of the standard library's, so that little of what is timed is the client."""

from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from urllib.parse import urlencode, urlsplit


class Refused(Exception):
    """What the node answered instead of rows."""


class Api:
    """One connection to a node for one key. Close it after use."""

    def __init__(self, url: str, key: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}"}

    def ask(self, sql: str) -> bytes:
        """The whole answer to a query, as JSON; :class:`Refused` if it is none."""
        try:
            answer, body = self._get(sql)
        except RemoteDisconnected:  # nothing was asked for so long that the node has closed the connection
            self._connection.close()
            answer, body = self._get(sql)
        if answer.status != 200:
            raise Refused(body.decode(errors="replace").strip())
        return body

    def _get(self, sql: str) -> tuple[HTTPResponse, bytes]:
        self._connection.request("GET", "/v1/query?" + urlencode({"q": sql}), headers=self._headers)
        answer = self._connection.getresponse()
        return answer, answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
