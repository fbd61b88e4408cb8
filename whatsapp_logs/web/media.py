"""The one document behind an expiring link: what Twilio fetches to put a file into a message."""

from __future__ import annotations

import hashlib
import logging

from flask import Blueprint, Response, request

from whatsapp_logs import links
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.message import MediaFile
from whatsapp_logs.web import current, looks
from whatsapp_logs.web.access import proves_itself
from whatsapp_logs.web.file_names import content_disposition
from whatsapp_logs.web.limits import TooMany

log = logging.getLogger(__name__)


def register(blueprint: Blueprint) -> None:
    """Add the route. The link's signature is the proof: who has the link is whom we gave it to."""
    blueprint.add_url_rule(f"{links.MEDIA_PATH}/<token>", view_func=document)


@proves_itself
def document(token: str) -> Response:
    """The document of this link; one that is expired, altered or made up opens nothing and tells nothing."""
    service = current.service()
    try:
        media_id = links.read_media_token(service.config, token)
        file = service.document(media_id)
    except (InvalidInput, MessageNotFound) as error:
        if wait_s := current.extension().unproven_calls.take(request.remote_addr):
            raise TooMany("Too many links that open nothing.", retry_after_s=wait_s) from error
        log.warning("document link refused (%s) from %s", error, request.remote_addr)
        raise MessageNotFound("There is no document at this address.") from error
    looks.by_link(media_id)
    log.info("document %s opened by %s", media_id, request.remote_addr)
    return _answer(file)


def _answer(file: MediaFile) -> Response:
    response = Response(file.content, content_type=file.content_type)
    response.set_etag(hashlib.sha256(file.content).hexdigest())
    response.headers.update(
        {
            "Cache-Control": "private, no-cache",  # ours to keep, and never without asking: links expire
            "Content-Disposition": content_disposition("inline", file.filename),
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
        }
    )
    response.make_conditional(request)
    return response
