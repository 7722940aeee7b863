"""The TLS certificate and its key: what can be told of them before the start is told then, in one line."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path

from novamesh.errors import StartError

# From here on an operator should know.
SOON_S = 14 * 86_400
_EXPIRED, _NOT_YET = 10, 9  # of OpenSSL's X509_V_ERR_*


def check(certificate: Path, key: Path) -> float:
    """Check the two files and that they belong together. Returns the seconds for which the certificate is valid, or
    infinity where that cannot be told. Raises :class:`StartError`."""
    _read(certificate, "tls_cert")
    _check_form(_read(key, "tls_key"), key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartError(f"tls_key {key} is not the key of the certificate in {certificate}; give that") from None
        raise StartError(f"{certificate} or {key} is damaged or no PEM file ({error.reason}); give others") from None
    except OSError as error:
        raise StartError(f"{certificate} and {key} cannot be used: {error}") from None
    return _valid_s(server, certificate)


def _read(path: Path, setting: str) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError as error:
        raise StartError(f"{setting} {path} cannot be read: {error.strerror}; name a file that can") from None


def _check_form(text: str, path: Path) -> None:
    if "ENCRYPTED" in text:
        raise StartError(f"tls_key {path} is encrypted; decrypt it: openssl pkey -in {path} -out key.pem")
    if "PRIVATE KEY-----" not in text:
        raise StartError(f"tls_key {path} holds no private key in PEM form; convert it with openssl pkey")


def _valid_s(server: ssl.SSLContext, certificate: Path) -> float:
    """The library reads dates only of a peer's certificate: so a client in this process meets the server."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted, whoever issued it
    try:
        client.load_verify_locations(certificate)
        found = _handshake(client, server)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            raise StartError(f"the certificate in {certificate} has expired; renew it") from None
        if error.verify_code == _NOT_YET:
            raise StartError(f"the certificate in {certificate} is not valid yet; look at the clock, or wait") from None
        return float("inf")  # clients decide, by what they trust
    except ssl.SSLError:
        return float("inf")
    return ssl.cert_time_to_seconds(str(found["notAfter"])) - time.time()


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, object]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    waiting = set(ends)
    while waiting:
        for end in ends:
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                continue
    return dict(ends[0].getpeercert() or {})


def until(seconds: float) -> str:
    """When it is over, for people."""
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%d")
