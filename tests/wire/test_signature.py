"""Signed calls and answers, and the URLs of hosts that may be called."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest

from stepflow.errors import StepflowError
from stepflow.wire.host_url import LOOPBACK, allow_list, host_url, url_problem
from stepflow.wire.signature import DIGEST, SIGNATURE, TIME, WINDOW_S, Signer

URL, NOW, BODY = "http://10.0.0.7:9000", 1_800_000_000_000_000, b"a body"
SECOND = 1_000_000
OLD, NEW = "old " * 10, "new " * 10


def test_the_form_of_a_signature_is_fixed():
    headers = Signer(NEW).call(URL, NOW, BODY)
    text = f"stepflow call 1\n{URL}\n{NOW}\n{sha256(BODY).hexdigest()}"
    assert headers == {
        TIME: str(NOW),
        DIGEST: sha256(BODY).hexdigest(),
        SIGNATURE: hmac.new(NEW.encode(), text.encode(), sha256).hexdigest(),
    }
    answer = f"stepflow answer 1\n{headers[SIGNATURE]}\n200\n{sha256(BODY).hexdigest()}"
    expected = hmac.new(NEW.encode(), answer.encode(), sha256).hexdigest()
    assert Signer(NEW).answer(headers[SIGNATURE], 200, BODY) == expected


def test_a_signed_call_is_taken():
    headers = Signer(NEW).call(URL, NOW, BODY)
    assert Signer(NEW).call_problem(URL, headers, NOW + (WINDOW_S - 1) * SECOND) == ""
    assert Signer(NEW).is_body(headers, BODY)


WRONG = {
    "another secret": (lambda h: Signer(OLD).call(URL, NOW, BODY), "secret"),
    "another host": (lambda h: Signer(NEW).call("http://10.0.0.8:9000", NOW, BODY), "secret"),
    "another time": (lambda h: {**h, TIME: str(NOW + 1)}, "secret"),
    "another digest": (lambda h: {**h, DIGEST: sha256(b"other").hexdigest()}, "secret"),
    "no signature": (lambda h: {}, "secret"),
    "no text of ASCII": (lambda h: {**h, SIGNATURE: "é\udc80"}, "secret"),
    "an old time": (lambda h: Signer(NEW).call(URL, NOW - (WINDOW_S + 1) * SECOND, BODY), "60 s ago"),
    "a time to come": (lambda h: Signer(NEW).call(URL, NOW + (WINDOW_S + 1) * SECOND, BODY), "60 s ago"),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_call_is_refused(name):
    change, why = WRONG[name]
    assert why in Signer(NEW).call_problem(URL, change(Signer(NEW).call(URL, NOW, BODY)), NOW)


def test_another_body_is_refused():
    assert not Signer(NEW).is_body(Signer(NEW).call(URL, NOW, BODY), b"another body")


def test_an_answer_belongs_to_its_call():
    signer = Signer(NEW)
    call = signer.call(URL, NOW, BODY)[SIGNATURE]
    signature = signer.answer(call, 200, b"answer")
    assert signer.is_answer(call, 200, b"answer", signature)
    other = signer.call(URL, NOW + 1, BODY)[SIGNATURE]
    for arguments in ((other, 200, b"answer"), (call, 500, b"answer"), (call, 200, b"another")):
        assert not signer.is_answer(*arguments, signature)
    assert not signer.is_answer(call, 200, b"answer", Signer(OLD).answer(call, 200, b"answer"))
    assert not signer.is_answer(call, 200, b"answer", call)


def test_a_secret_is_replaced_without_a_stop():
    between = Signer([NEW, OLD])
    for signer in (Signer(OLD), Signer(NEW), between):
        assert between.call_problem(URL, signer.call(URL, NOW, BODY), NOW) == ""
    assert Signer(NEW).call_problem(URL, between.call(URL, NOW, BODY), NOW) == ""
    assert Signer(OLD).call_problem(URL, between.call(URL, NOW, BODY), NOW)


@pytest.mark.parametrize("secret", ["", "short", [], [NEW, "short"], 7, None, [None]])
def test_a_secret_that_is_too_short_is_refused_and_not_shown(secret):
    with pytest.raises(StepflowError) as refused:
        Signer(secret)
    assert "short" not in str(refused.value)


def test_a_secret_is_not_shown():
    assert "new" not in repr(Signer(NEW))


FORMS = {
    "http://10.0.0.7:9000": "http://10.0.0.7:9000",
    "http://10.0.0.7:80/": "http://10.0.0.7",
    "HTTP://x": None,
    "https://Flows.Example:443/shop/": "https://flows.example/shop",
    "http://[::1]:8080": "http://[::1]:8080",
    "http://a:0": None,
    "http://a:70000": None,
    "http://user@a": None,
    "http://user:pass@a:1": None,
    "http://a/?q": None,
    "http://a/#f": None,
    "http://a/..": None,
    "http://a/%2e%2e/": None,
    "http://a b": None,
    "http://a\n": None,
    "http://a\\@b": None,
    "http://-a": None,
    "http://ä": None,
    "ftp://a": None,
    "a:9000": None,
    "": None,
    None: None,
}


@pytest.mark.parametrize("text", FORMS)
def test_a_url_has_one_form(text):
    if (expected := FORMS[text]) is None:
        with pytest.raises(StepflowError, match="no URL of a host"):
            host_url(text)
    else:
        assert host_url(text) == expected == host_url(expected)


ALLOWED = allow_list(["http://10.0.0.7:9000/", "https://flows.example/shop", LOOPBACK])


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.7:9000", "https://flows.example/shop", "http://127.0.0.1:1", "http://127.9.9.9", "http://localhost:5", "http://[::1]:5"],
)  # fmt: skip
def test_a_listed_host_is_allowed(url):
    assert url_problem(url, ALLOWED) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.7:9001", "http://10.0.0.7", "https://10.0.0.7:9000", "http://10.0.0.7:9000/x", "http://10.0.0.77:9000",
        "https://flows.example", "https://flows.example/shop/x", "http://169.254.169.254", "http://0.0.0.0:1", "http://127.1:1",
        "http://2130706433", "http://0x7f000001", "http://localhost.example", "http://[::ffff:10.0.0.1]", "http://[::]:1",
        "http://10.0.0.7:9000@evil.example", "http://127.0.0.1:1@evil.example", "http://10.0.0.7:9000/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_another_host_is_not(url):
    assert url_problem(url, ALLOWED)


def test_without_loopback_this_machine_is_not_allowed_either():
    assert url_problem("http://127.0.0.1:1", allow_list(["http://10.0.0.7:9000"]))


@pytest.mark.parametrize("hosts", ["http://10.0.0.7:9000", ["10.0.0.7"], [7]])
def test_a_wrong_list_is_refused(hosts):
    with pytest.raises(StepflowError):
        allow_list(hosts)
