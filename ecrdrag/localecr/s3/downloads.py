"""Own what S3 does behind a blob URL: whole files, one range, conditions, XML errors.

The service may enter. Behaviour: S3 API reference, GetObject and "Error responses".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from html import escape
from http import HTTPStatus
from typing import Final
from uuid import uuid4

from werkzeug.datastructures import Range
from werkzeug.http import http_date, parse_etags, parse_range_header

from ecrdrag.localecr.s3.links import LinkRefused, Links
from ecrdrag.localecr.storage.blobs import Blobs
from ecrdrag.localecr.web.exchange import Answer, Request
from ecrdrag.localecr.web.files import FileSlice

_BLOB_TYPE: Final = "application/octet-stream"


class Downloads:
    """Answer requests for blobs; safe from many threads."""

    def __init__(self, blobs: Blobs, links: Links, clock: Callable[[], float] = time.time) -> None:
        self._blobs = blobs
        self._links = links
        self._clock = clock

    def __call__(self, request: Request) -> Answer:
        """Answer one request, whatever it is."""
        try:
            return self._blob(request, self._links.check(request, self._clock()))
        except LinkRefused as refused:
            return refuse(refused)

    def _blob(self, request: Request, hexadecimal: str) -> Answer:
        found = self._blobs.find(hexadecimal)
        if found is None:
            raise LinkRefused(404, "NoSuchKey", "The specified key does not exist.", Key=hexadecimal)
        headers = {
            **_request_ids(),
            "Content-Type": _BLOB_TYPE,
            "Accept-Ranges": "bytes",
            "ETag": f'"{hexadecimal}"',
            "Last-Modified": http_date(found.modified),
        }
        if _is_known(request, hexadecimal):
            return Answer(HTTPStatus.NOT_MODIFIED, headers, summary="known")
        return _send(found, _range(request, hexadecimal), headers)


def _send(whole: FileSlice, wanted: Range | None, headers: Mapping[str, str]) -> Answer:
    if wanted is None:
        return Answer(HTTPStatus.OK, headers, whole, "blob")
    start, stop = _resolve(wanted.ranges[0], whole.size)
    if start >= whole.size:
        refusal = LinkRefused(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            "InvalidRange",
            "The requested range is not satisfiable",
            RangeRequested=wanted.to_header(),
            ActualObjectSize=str(whole.size),
        )
        return refuse(refusal, {"Content-Range": f"bytes */{whole.size}"})
    place = f"bytes {start}-{stop - 1}/{whole.size}"
    part = replace(whole, start=whole.start + start, stop=whole.start + stop)
    return Answer(HTTPStatus.PARTIAL_CONTENT, {**headers, "Content-Range": place}, part, f"blob {place}")


def _resolve(wanted: tuple[int, int | None], size: int) -> tuple[int, int]:
    start, stop = wanted
    if start < 0:
        return max(size + start, 0), size
    return start, size if stop is None else min(stop, size)


def _range(request: Request, etag: str) -> Range | None:
    """Return the range that is asked for; S3 takes a malformed one, several, and an If-Range that fails, for none."""
    condition = request.headers.get("If-Range", "")
    if condition and not parse_etags(condition).contains(etag):
        return None
    parsed = parse_range_header(request.headers.get("Range"))
    if parsed is None or parsed.units != "bytes" or len(parsed.ranges) != 1:
        return None
    return parsed


def _is_known(request: Request, etag: str) -> bool:
    """Tell whether the client has the blob already; raise LinkRefused when it insists on another one."""
    wanted = parse_etags(request.headers.get("If-Match"))
    if wanted and not wanted.contains(etag):
        raise LinkRefused(
            HTTPStatus.PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
            Condition="If-Match",
        )
    return parse_etags(request.headers.get("If-None-Match")).contains(etag)


def _request_ids() -> dict[str, str]:
    return {"x-amz-request-id": uuid4().hex[:16].upper(), "x-amz-id-2": uuid4().hex}


def refuse(refused: LinkRefused, headers: Mapping[str, str] | None = None) -> Answer:
    """Write S3's XML for a refusal."""
    ids = _request_ids()
    elements = {
        "Code": refused.code,
        "Message": refused.message,
        **refused.elements,
        "RequestId": ids["x-amz-request-id"],
        "HostId": ids["x-amz-id-2"],
    }
    inner = "".join(f"<{name}>{escape(text, quote=False)}</{name}>" for name, text in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()
    all_headers = {**ids, "Content-Type": "application/xml", **(headers or {})}
    return Answer(refused.status, all_headers, body, refused.code)
