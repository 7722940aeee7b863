"""What may go wrong at an endpoint, by what it does."""

from typing import Final

from novamesh.errors import (
    Forbidden,
    InvalidEncoding,
    InvalidEvent,
    InvalidJson,
    InvalidParameter,
    InvalidQuery,
    Overloaded,
    PayloadTooLarge,
    QueryNotAllowed,
    QueryTimeout,
    QueryTooLarge,
    RateLimited,
    RequestError,
    RequestTimeout,
    SpoolFull,
    SpoolUnavailable,
    StoreUnavailable,
    TooManyQueries,
    Unauthorized,
    UnsupportedMediaType,
)

Errors = tuple[type[RequestError], ...]

OF_KEY: Final[Errors] = (Unauthorized, Forbidden, InvalidParameter)
OF_BODY: Final[Errors] = (
    InvalidJson,
    InvalidEncoding,
    RequestTimeout,
    PayloadTooLarge,
    UnsupportedMediaType,
    Overloaded,
)
OF_EVENTS: Final[Errors] = (*OF_KEY, *OF_BODY, InvalidEvent, RateLimited, SpoolFull, SpoolUnavailable)
OF_TURN: Final[Errors] = (QueryTimeout, QueryTooLarge, TooManyQueries, StoreUnavailable)
OF_SQL: Final[Errors] = (*OF_KEY, InvalidQuery, QueryNotAllowed, *OF_TURN)
