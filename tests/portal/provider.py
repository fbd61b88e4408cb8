"""An OpenID provider on this machine: discovery, authorize, token and keys over HTTP.

It checks what a provider checks, and lies on request.

`account` is who sits at its sign-in page; `claims`, `sign` and `discovery` change what it says.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "portal", "a secret of the tests, with + and %"
KEY_ID = "first"
Sign = Callable[[dict[str, Any]], str]


@dataclass
class FakeProvider:
    """The provider and what it knows; `redirect_uri` is the only one that is registered."""

    issuer: str
    redirect_uri: str
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    account: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    sign: Sign | None = None
    is_cancelled: bool = False
    told_apart: dict[str, Any] | None = None  # what only its userinfo endpoint tells; None: it has no such endpoint
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def sits_there(self, subject: str, **account: Any) -> None:
        """Who will be signed in there next."""
        self.account = {"sub": subject, **account}

    def signed(self, claims: dict[str, Any]) -> str:
        """As an honest provider signs."""
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": KEY_ID})

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent: back, with a code."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert query["redirect_uri"] == self.redirect_uri
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        answer = {"state": query["state"]}
        if self.is_cancelled:
            return self.redirect_uri + "?" + urlencode(answer | {"error": "access_denied"})
        code = secrets.token_urlsafe()
        self.codes[code] = query
        return self.redirect_uri + "?" + urlencode(answer | {"code": code})

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """What a code is worth: once, to the client that asked for it, with the verifier of its challenge."""
        expected = base64.b64encode(urlencode({CLIENT_ID: CLIENT_SECRET}).replace("=", ":", 1).encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        query = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            query is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != query["redirect_uri"]
            or challenge.rstrip(b"=").decode() != query["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        times = {"iat": now, "exp": now + 300} | ({"auth_time": now} if "max_age" in query else {})
        told = {"iss": self.issuer, "aud": CLIENT_ID, "nonce": query["nonce"], **times, **self.account, **self.claims}
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": (self.sign or self.signed)(told)}

    def document(self) -> dict[str, Any]:
        """What it says of itself."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **({} if self.told_apart is None else {"userinfo_endpoint": f"{self.issuer}/userinfo"}),
            **self.discovery,
        }

    def keys(self) -> dict[str, Any]:
        """Its public keys."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": KEY_ID, "use": "sig"}]}


class _Handler(BaseHTTPRequestHandler):
    provider: FakeProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.asked.append(parts.path)
        if parts.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.provider.authorize(dict(parse_qsl(parts.query))))
            self.end_headers()
        elif parts.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.end_headers()
        elif parts.path == "/.well-known/openid-configuration":
            self._answer(200, self.provider.document())
        elif parts.path == "/userinfo":
            is_known = self.headers.get("Authorization") == "Bearer x"
            self._answer(*((200, self.provider.told_apart or {}) if is_known else (401, {"error": "invalid_token"})))
        else:
            self._answer(200, self.provider.keys())

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self._answer(*self.provider.token(form, self.headers.get("Authorization", "")))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def running_provider(redirect_uri: str) -> Iterator[FakeProvider]:
    """A provider that listens until the end of the block."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider = handler.provider = FakeProvider(f"http://127.0.0.1:{server.server_port}", redirect_uri)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
