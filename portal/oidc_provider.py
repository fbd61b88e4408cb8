"""The talk with an OpenID provider: where to send people, what a code is worth, and whether its ID token may be believed.

It knows neither Flask nor the database. What it raises says why in words that hold no token and nobody's name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt
import requests

from portal.oidc_settings import OidcSettings, is_safe

_TIMEOUT_S = (3.05, 5.0)  # to be connected; for each piece of the answer
_ANSWER_WITHIN_S = 10.0  # for the whole of it
_MOST_BYTES = 256 * 1024
_KEPT_S = 3600.0
_KEYS_ASKED_AGAIN_AFTER_S = 10.0  # so that tokens with invented key ids do not make us ask without end
_CLOCKS_DIFFER_S = 60
_LONGEST_SUBJECT = 255
# Which kind of key signs by which algorithm. What shares a secret ("HS256") or signs nothing ("none") is not here.
_KINDS = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
_MULTI_FACTOR_AMR = frozenset({"mfa", "mca", "otp", "hwk", "sc"})  # RFC 8176
_MULTI_FACTOR_ACR = frozenset({
    "mfa", "phr", "phrh", "urn:okta:loa:2fa:any", "https://refeds.org/profile/mfa",
    "http://schemas.openid.net/pape/policies/2007/06/multi-factor",
})  # fmt: skip


class ProviderAway(Exception):
    """The provider does not answer, or not as one."""


class NotBelieved(Exception):
    """What came back proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What the provider says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str  # "": there is none
    algorithms: tuple[str, ...]
    posts_secret: bool
    names_itself: bool  # its answers carry `iss` (RFC 9207)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom the provider vouches for: `subject` for good; `names` are what may lead to a person once, at the first sign-in."""

    issuer: str
    subject: str
    names: tuple[str, ...]
    is_multi_factor: bool
    authenticated_at: int | None


class Provider:
    """One provider. What it says of itself, and its keys, are asked for when first needed and kept for an hour."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._discovered: tuple[float, Discovered] | None = None
        self._keys: tuple[float, list[Mapping[str, Any]]] | None = None

    def address(self, *, state: str, nonce: str, verifier: str, again: bool = False) -> str:
        """Where to send somebody; `again` asks the provider to see them enter their password now."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        fields = {
            "response_type": "code",
            "scope": "openid email profile",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        } | ({"prompt": "login", "max_age": "0"} if again else {})
        endpoint = self._discover().authorization_endpoint
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(fields)

    def check_sender(self, said: str | None) -> None:
        """Refuse an answer that says it comes from another provider, or does not say it although this one always does."""
        if said != self.settings.issuer and (said is not None or self._discover().names_itself):
            raise NotBelieved("answer of another issuer")

    def identity(self, code: str, *, verifier: str, nonce: str) -> Identity:
        """Redeem the code and check the ID token."""
        discovered = self._discover()
        tokens = self._redeem(discovered, code, verifier)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise NotBelieved("no ID token")
        claims = self._checked(token, discovered, nonce)
        return Identity(
            issuer=self.settings.issuer,
            subject=claims["sub"],
            names=_names(claims) or _names(_user_info(discovered, tokens.get("access_token"), claims["sub"])),
            is_multi_factor=_is_multi_factor(claims),
            authenticated_at=_whole(claims.get("auth_time")),
        )

    def _redeem(self, discovered: Discovered, code: str, verifier: str) -> Mapping[str, Any]:
        settings = self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if discovered.posts_secret:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        else:
            auth = (quote_plus(settings.client_id), quote_plus(settings.client_secret))  # RFC 6749, 2.3.1
        status, answer = _ask("POST", discovered.token_endpoint, data=form, auth=auth)
        if 400 <= status < 500:
            raise NotBelieved(f"token endpoint answered {status}")
        return _as_document(status, answer)

    def _checked(self, token: str, discovered: Discovered, nonce: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = header.get("alg")
            if algorithm not in discovered.algorithms:
                raise NotBelieved("algorithm of the ID token")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(discovered, algorithm, header.get("kid")),
                algorithms=[algorithm],
                audience=self.settings.client_id,
                issuer=self.settings.issuer,
                leeway=_CLOCKS_DIFFER_S,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"], "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise NotBelieved(f"ID token: {type(error).__name__}") from None
        _check_claims(claims, client_id=self.settings.client_id, nonce=nonce)
        return claims

    def _key(self, discovered: Discovered, algorithm: str, key_id: object) -> jwt.PyJWK:
        found = _fitting(self._key_set(discovered, younger_than_s=_KEPT_S), algorithm, key_id)
        if len(found) != 1:  # The provider may have changed its keys.
            found = _fitting(self._key_set(discovered, younger_than_s=_KEYS_ASKED_AGAIN_AFTER_S), algorithm, key_id)
        if len(found) != 1:
            raise NotBelieved("no key of the provider fits the ID token")
        return jwt.PyJWK.from_dict(dict(found[0]), algorithm=algorithm)

    def _key_set(self, discovered: Discovered, *, younger_than_s: float) -> list[Mapping[str, Any]]:
        with self._lock:
            kept = self._keys
        if kept and time.monotonic() - kept[0] < younger_than_s:
            return kept[1]
        listed = _as_document(*_ask("GET", discovered.jwks_uri)).get("keys")
        keys: list[Mapping[str, Any]] = (
            [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
        )
        with self._lock:
            self._keys = (time.monotonic(), keys)
        return keys

    def _discover(self) -> Discovered:
        with self._lock:
            kept = self._discovered
        if kept and time.monotonic() - kept[0] < _KEPT_S:
            return kept[1]
        at = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        discovered = _as_discovered(_as_document(*_ask("GET", at)), self.settings.issuer)
        with self._lock:
            self._discovered = (time.monotonic(), discovered)
        return discovered


def _ask(method: str, url: str, **more: Any) -> tuple[int, bytes]:
    """Status and body. No redirect is followed; an answer that is long or slow is none."""
    until = time.monotonic() + _ANSWER_WITHIN_S
    headers = {"Accept": "application/json"}
    body = b""
    try:
        with requests.request(
            method, url, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False, stream=True, **more
        ) as answer:
            for piece in answer.iter_content(16 * 1024):
                body += piece
                if len(body) > _MOST_BYTES or time.monotonic() > until:
                    raise ProviderAway("an answer without end")
            return answer.status_code, body
    except requests.RequestException as error:
        raise ProviderAway(type(error).__name__) from None


def _as_document(status: int, body: bytes) -> Mapping[str, Any]:
    if status != requests.codes.ok:
        raise ProviderAway(f"answered {status}")
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ProviderAway("answered something else than JSON")
    return document


def _user_info(discovered: Discovered, access_token: object, subject: str) -> Mapping[str, Any]:
    """What an ID token leaves out: many providers tell e-mail address and user name here alone (OpenID Connect Core 5.4)."""
    if not discovered.userinfo_endpoint or not isinstance(access_token, str):
        return {}
    status, answer = _ask("GET", discovered.userinfo_endpoint, auth=_Bearer(access_token))
    if 400 <= status < 500:
        raise NotBelieved(f"userinfo endpoint answered {status}")
    told = _as_document(status, answer)
    if told.get("sub") != subject:  # 5.3.2: the answer may be about somebody else
        raise NotBelieved("userinfo of another subject")
    return told


class _Bearer(requests.auth.AuthBase):
    """The access token, whatever a `.netrc` of this machine says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, asked: requests.PreparedRequest) -> requests.PreparedRequest:
        asked.headers["Authorization"] = f"Bearer {self._token}"
        return asked


def _as_discovered(document: Mapping[str, Any], issuer: str) -> Discovered:
    if document.get("issuer") != issuer:
        raise NotBelieved("OIDC_ISSUER is not, to the letter, what the discovery document calls its issuer")
    endpoints = {name: document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    if (told_at := document.get("userinfo_endpoint")) is not None:
        endpoints["userinfo_endpoint"] = told_at
    if unsafe := [name for name, url in endpoints.items() if not is_safe(url)]:
        raise NotBelieved(f"discovery document: {', '.join(unsafe)} missing or not https")
    if issuer.startswith("https:") and not all(str(url).startswith("https:") for url in endpoints.values()):
        raise NotBelieved("discovery document: an endpoint is not https")
    listed = document.get("id_token_signing_alg_values_supported")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Discovered(
        **{"userinfo_endpoint": "", **{name: str(url) for name, url in endpoints.items()}},
        algorithms=tuple(each for each in _KINDS if isinstance(listed, list) and each in listed),
        posts_secret="client_secret_post" in methods and "client_secret_basic" not in methods,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _fitting(keys: list[Mapping[str, Any]], algorithm: str, key_id: object) -> list[Mapping[str, Any]]:
    return [
        key
        for key in keys
        if key.get("kty") == _KINDS[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (key_id is None or key.get("kid") == key_id)
    ]


def _check_claims(claims: Mapping[str, Any], *, client_id: str, nonce: str) -> None:
    """What is particular to an ID token; the signature and the claims of every token are checked already."""
    if not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise NotBelieved("nonce")
    is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if is_for_several else client_id) != client_id:
        raise NotBelieved("azp")
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise NotBelieved("sub")


def _names(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """A verified e-mail address and the user name there. What the provider calls unverified counts under neither name.

    ASCII only: lower case would make an a-to-z letter of some others, and so one person's name of another's.
    """
    email, username = (_plain(claims.get(name)) for name in ("email", "preferred_username"))
    if claims.get("email_verified") is not True:
        if email == username and "email_verified" in claims:
            username = ""
        email = ""
    return tuple(dict.fromkeys(name for name in (email, username) if name))


def _plain(value: object) -> str:
    is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
    return str(value).strip().lower()[:100] if is_plain else ""


def _is_multi_factor(claims: Mapping[str, Any]) -> bool:
    amr = claims.get("amr")
    methods = {each for each in amr if isinstance(each, str)} if isinstance(amr, list) else set()
    return bool(methods & _MULTI_FACTOR_AMR) or claims.get("acr") in _MULTI_FACTOR_ACR


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < 2**40 else None
