"""signature: how calls of remote flows and their answers are signed, with HMAC-SHA256 and a secret that both sides know.

A call is signed with the URL of the host, so that no other host takes it, and with its time: it is refused when that is more than WINDOW_S
away. It is signed with the digest of its body, which is in a header: so a host reads no body of a stranger. Within the window a recorded call can be sent again; that executes the function once more, and gives the answer to the sender alone. An answer is
signed together with the signature of its call, so it answers that one only.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256

from attrs import field, frozen

from stepflow.errors import StepflowError

WINDOW_S = 60
SECOND = 1_000_000  # microseconds
SHORTEST = 32  # characters of a secret
TIME, DIGEST, SIGNATURE = "stepflow-time", "stepflow-digest", "stepflow-signature"  # headers
"""Of a call: decimal microseconds UTC, the SHA-256 of the body, and the signature, both in hex digits; of an answer the last one."""


def _checked(secrets: str | Sequence[str]) -> tuple[bytes, ...]:
    """The secrets as bytes; the error does not show them."""
    given: list[object] = list(secrets) if isinstance(secrets, list | tuple) else [secrets]
    texts = []
    for one in given:
        if not isinstance(one, str) or len(one) < SHORTEST:
            raise StepflowError(
                f"secret: give a text of at least {SHORTEST} characters, e.g. that of python -c"
                " 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        texts.append(one.encode())
    if not texts:
        raise StepflowError("secret: give one, or a list whose first one signs")
    return tuple(texts)


@frozen
class Signer:
    """Signs with the first of its secrets, and takes what was signed with any of them: so a secret can be replaced without a stop."""

    _secrets: tuple[bytes, ...] = field(converter=_checked, repr=False)

    def call(self, url: str, at: int, body: bytes) -> dict[str, str]:
        """The headers of a call of the host at `url`, made at `at` (microseconds UTC)."""
        digest = sha256(body).hexdigest()
        return {TIME: str(at), DIGEST: digest, SIGNATURE: _hmac(self._secrets[0], _call_text(url, str(at), digest))}

    def answer(self, call: str, status: int, body: bytes) -> str:
        """The signature of the answer to the call with the signature `call`."""
        return _hmac(self._secrets[0], _answer_text(call, status, body))

    def call_problem(self, url: str, headers: Mapping[str, str], now: int) -> str:
        """Why a call is not to be answered; empty if it is. The time that it takes tells nothing of a secret."""
        at, digest = headers.get(TIME, ""), headers.get(DIGEST, "")
        if not self._is_one(_call_text(url, at, digest), headers.get(SIGNATURE, "")):
            return "it is not signed with the secret of this host for its URL"
        if not at.isdecimal() or abs(int(at) - now) > WINDOW_S * SECOND:
            return f"it was signed more than {WINDOW_S} s ago, or the clocks of caller and host differ as much"
        return ""

    def is_body(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether this is the body that the caller signed; after `call_problem`."""
        return hmac.compare_digest(
            sha256(body).hexdigest().encode(), headers.get(DIGEST, "").encode("utf-8", "replace")
        )

    def is_answer(self, call: str, status: int, body: bytes, signature: str) -> bool:
        """Whether this is the answer of a host that knows a secret to that call."""
        return self._is_one(_answer_text(call, status, body), signature)

    def _is_one(self, text: bytes, signature: str) -> bool:
        given = signature.encode("utf-8", "replace")
        return sum(hmac.compare_digest(_hmac(secret, text).encode(), given) for secret in self._secrets) > 0


def _hmac(secret: bytes, text: bytes) -> str:
    return hmac.new(secret, text, sha256).hexdigest()


def _call_text(url: str, at: str, digest: str) -> bytes:
    return f"stepflow call 1\n{url}\n{at}\n{digest}".encode("utf-8", "replace")


def _answer_text(call: str, status: int, body: bytes) -> bytes:
    return f"stepflow answer 1\n{call}\n{status}\n{sha256(body).hexdigest()}".encode("utf-8", "replace")
