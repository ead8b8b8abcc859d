"""HTTPS: real handshakes with clients that verify, what is said of wrong files, and what an answer has over HTTPS."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stepflow.cli.app import run
from stepflow.drivers.http.client import ServerClient
from stepflow.drivers.http.flowstate.client import FlowstateClient
from stepflow.errors import Unavailable
from stepflow.server.guard import HEADERS, HTTPS_HEADERS
from stepflow.server.serving import config_of
from tests.house.pages import ROOT
from tests.ports import free_port
from tests.server.processes import LIMIT_S, STEPFLOW, serving

pytestmark = pytest.mark.usefixtures("forking")

PLAIN = serialization.NoEncryption()
FUNCTION = """
from stepflow import Command, StateCtx, commit, flow, park


@flow("mail.send")
def send(ctx: StateCtx) -> Command:
    return commit(park(ctx))
"""


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certified(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """What certificates of an authority and of a server have in common; its times are around now."""
    now = datetime.now(UTC)
    of_issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(of_issuer, critical=False)
    )


def pem_of(key: ec.EllipticCurvePrivateKey, encryption: serialization.KeySerializationEncryption = PLAIN) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


@pytest.fixture(scope="module")
def pems() -> Mapping[str, bytes]:
    """The files of an authority and of a server called localhost, and wrong ones."""
    authority, server, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    ) | {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
    root = (
        certified("authority", authority, "authority", authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        certified("localhost", server, "authority", authority)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    return {
        "ca.pem": root.public_bytes(serialization.Encoding.PEM),
        "server.pem": leaf.public_bytes(serialization.Encoding.PEM),
        "key.pem": pem_of(server),
        "other.pem": pem_of(other),
        "locked.pem": pem_of(server, serialization.BestAvailableEncryption(b"secret")),
        "text.pem": b"no certificate\n",
        "binary.pem": bytes(range(256)),
    }


@pytest.fixture
def folder(tmp_path: Path, pems: Mapping[str, bytes]) -> Path:
    for name, content in pems.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "tls_mails.py").write_text(FUNCTION)
    (tmp_path / "secret").write_text("of the tests, of no use elsewhere\n")
    return tmp_path


def options_of(verb: str, certificate: str = "server.pem", key: str = "key.pem") -> list[str]:
    """What each verb needs to serve HTTPS on a free port."""
    of_host = ["tls_mails", "--secret-file", "secret", "--url", f"https://localhost:{free_port()}"]
    store = ["--store", "sqlite:///shop.db", "--certificate", certificate, "--key", key]
    return [*(of_host if verb == "host" else []), *store]


@pytest.mark.parametrize("verb", ["serve", "host"])
def test_a_client_that_verifies_gets_an_answer_over_tls(folder, verb):
    trusting = ssl.create_default_context(cafile=folder / "ca.pem")
    with serving(folder, *options_of(verb), verb=verb) as (_process, url):
        port = httpx2.URL(url).port
        assert url.startswith("https://")
        with httpx2.Client(verify=trusting, timeout=LIMIT_S) as client:
            answer = client.get(f"https://localhost:{port}/healthz")
            assert (answer.status_code, answer.text) == (200, "ok\n")
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            with pytest.raises(httpx2.ConnectError, match=r"certificate is not valid for '127\.0\.0\.1'"):
                client.get(f"https://127.0.0.1:{port}/healthz")
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx2.get(f"https://localhost:{port}/healthz", timeout=LIMIT_S)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://localhost:{port}/healthz", timeout=LIMIT_S)


def test_a_verb_on_a_server_verifies_its_certificate(folder):
    with serving(folder, *options_of("serve")) as (_process, url):
        command = [*STEPFLOW, "list", "--store", f"https://localhost:{httpx2.URL(url).port}", "--count", "--json"]
        for env, code, said in (({"SSL_CERT_FILE": "ca.pem"}, 0, "{}"), ({}, 1, "certificate verify failed")):
            done = subprocess.run(
                command, cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
            assert done.returncode == code, done.stderr
            assert said in done.stdout + done.stderr


CLIENTS = {
    "stepflow": lambda url: ServerClient(url).call("info", {}),
    "flowstate": lambda url: FlowstateClient(url).call("Get", [], b""),
}


@pytest.mark.parametrize("call", CLIENTS.values(), ids=CLIENTS)
def test_a_client_that_can_have_no_connection_says_so_at_once(folder, monkeypatch, call):
    def ask(url):
        with pytest.raises(Unavailable) as refused:
            call(url)
        return str(refused.value)

    monkeypatch.setattr("stepflow.drivers.http.client.PAUSE_S", None)  # a repetition would fail
    with serving(folder, *options_of("serve")) as (_process, url):
        assert "certificate verify failed: " in (told := ask(f"https://localhost:{httpx2.URL(url).port}"))
        assert told.endswith("in SSL_CERT_FILE")
    with serving(folder) as (_process, url):
        told = ask(f"https://localhost:{httpx2.URL(url).port}")
        assert told.endswith("does not speak TLS: write http:// instead of https://")


WRONG = {
    "no certificate file": (("none.pem", "key.pem"), "--certificate none.pem: No such file or directory: give a PEM"),
    "no key file": (("server.pem", "none.pem"), "--key none.pem: No such file or directory: give a PEM file"),
    "a file that cannot be read": (("/proc/self/mem", "key.pem"), "--certificate /proc/self/mem: Input/output error"),
    "a text": (("text.pem", "key.pem"), "--certificate text.pem has no certificate: give a PEM file"),
    "bytes": (("server.pem", "binary.pem"), "--key binary.pem has no private key: give a PEM file"),
    "a certificate as its key": (("server.pem", "server.pem"), "--key server.pem has no private key"),
    "another key": (("server.pem", "other.pem"), "--key other.pem is not the key of --certificate server.pem"),
    "an encrypted key": (("server.pem", "locked.pem"), "--key locked.pem is encrypted: give it without a password"),
}


@pytest.mark.parametrize("verb", ["serve", "host"])
@pytest.mark.parametrize(("files", "said"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_named_before_anything_is_made(folder, monkeypatch, capsys, verb, files, said):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run([verb, *options_of(verb, *files)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {said}")
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not (folder / "shop.db").exists()


@pytest.mark.anyio
async def test_only_an_answer_over_https_tells_the_browser_to_keep_to_it(server):
    async with server("memory://") as caller:
        for path in ("/healthz", "/nothing", "/ui/runs", "/api/v1/runs", "/ui/static/style.css"):
            plain = (await caller.client.get(path)).headers
            secure = (await caller.client.get(f"https://localhost:8080{path}")).headers
            assert "strict-transport-security" not in plain
            assert secure["strict-transport-security"] == "max-age=31536000"


def test_the_page_has_the_headers_of_every_answer():
    page = (ROOT / "docs" / "howto" / "security.md").read_text()
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4]
    told = {name.strip(" `"): value.strip(" `") for name, value, _why in rows}
    assert told == HEADERS | HTTPS_HEADERS


def test_the_proxies_that_may_say_that_the_browser_came_by_https_are_named_by_a_variable(monkeypatch):
    assert config_of(None, "localhost", 0, None, None).forwarded_allow_ips in ("127.0.0.1", "127.0.0.1,::1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.2")
    assert config_of(None, "localhost", 0, None, None).forwarded_allow_ips == "10.0.0.2"
