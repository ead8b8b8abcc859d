"""The settings of `stepflow serve` by a TOML file and by the environment: all of them, wrong types of each, and misspelt names."""

from __future__ import annotations

import json
import logging

import pytest

from stepflow.cli import serve
from stepflow.cli.app import run
from stepflow.cli.serve import command
from stepflow.cli.settings import NO_SETTINGS

GIVEN = {
    "store": "sqlite:///given.db",
    "host": "::1",
    "port": 81,
    "tokens": "tokens.toml",
    "origins": ["https://a.example", "https://b.example"],
    "flows": ["shop.flows", "bank.flows"],
    "certificate": "c.pem",
    "key": "k.pem",
    "json_logs": True,
}
TEXTS = ("store", "host", "tokens", "certificate", "key")
LISTS = ("origins", "flows")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *options):
    assert run(["serve", "--print-config", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    return found | {"store": found["store"].replace(found["store"].rpartition("/")[0], "sqlite://")}


def test_the_table_has_all_settings():
    assert {one.name for one in command.params} - {*NO_SETTINGS} == GIVEN.keys()


def test_all_settings_come_from_a_file(folder, capsys):
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in GIVEN.items()]
    (folder / "server.toml").write_text("".join(lines))
    assert printed(capsys, "--config", "server.toml") == GIVEN


def test_all_settings_come_from_the_environment(monkeypatch, capsys, caplog):
    for name, value in GIVEN.items():
        text = " ".join(value) if isinstance(value, list) else str(value)
        monkeypatch.setenv(f"STEPFLOW_{name.upper()}", text)
    assert printed(capsys) == GIVEN
    assert caplog.text == ""


WRONG = (
    [(name, "5", "give a text in quotes") for name in TEXTS]
    + [(name, '["a"]', "give a text in quotes") for name in TEXTS]
    + [(name, '"a.b"', f'give a list of texts, e.g. {name} = ["a.b"]') for name in LISTS]
    + [(name, "[1]", f"give a list of texts, e.g. {name} = [") for name in LISTS]
    + [(name, "true", f"give a list of texts, e.g. {name} = [") for name in LISTS]
    + [("port", value, "give a whole number, e.g. port = 8080") for value in ("[1]", '"81"', "true", "1.5")]
    + [("port", "65536", "65536 is not in the range 0<=x<=65535")]
    + [("json_logs", value, "give true or false") for value in ("1", '"yes"', "[true]")]
    + [("host", '{"a" = 1979-05-27}'.replace('"a"', "a"), "give a text in quotes")]
)


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_a_setting_of_a_wrong_type_is_refused_in_one_line(folder, capsys, name, value, told):
    (folder / "server.toml").write_text(f"{name} = {value}\n")
    assert run(["serve", "--config", "server.toml", "--print-config"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error: ")]
    shown = value if "=" not in value else '{"a": "1979-05-27"}'
    assert line.startswith(f"Error: Invalid value for '--config': server.toml: {name} = {shown}: {told}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("origin", "'origin' is no setting: use origins\n"),
        ("config", "'config' is no setting: use certificate, flows, host, "),
        ("print_config", "'print_config' is no setting: use certificate, flows, host, "),
    ],
)
def test_a_name_that_is_no_setting_is_refused(folder, capsys, name, told):
    (folder / "server.toml").write_text(f'{name} = "a"\n')
    assert run(["serve", "--config", "server.toml", "--print-config"]) == 2
    assert f"server.toml: {told}" in capsys.readouterr().err


def test_a_variable_similar_to_one_of_a_setting_is_warned_of(monkeypatch, capsys, caplog):
    for name in ("ORIGIN", "TOKEN", "PROT", "SERVICE_HOST", "PORT_8080_TCP", "NAMESPACE", "PAYLOAD", "SECRET_FILE"):
        monkeypatch.setenv(f"STEPFLOW_{name}", "secret")
    assert printed(capsys)["origins"] == []
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert told == [
        f"the variable STEPFLOW_{given} is ignored: did you mean STEPFLOW_{meant}?"
        for given, meant in (("ORIGIN", "ORIGINS"), ("PROT", "PORT"), ("TOKEN", "TOKENS"))
    ]
    caplog.clear()
    assert run(["serve", "--host", "0.0.0.0"]) == 2  # refused for want of --tokens: the warning tells why
    assert "did you mean STEPFLOW_TOKENS?" in caplog.text
    assert "secret" not in caplog.text


def test_the_help_names_the_setting_and_the_variable_of_an_option_of_another_name(capsys):
    assert run(["serve", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for option in command.params:
        if option.name not in NO_SETTINGS and f"--{option.name.replace('_', '-')}" not in option.opts:
            assert f"The setting is `{option.name}`. [env: STEPFLOW_{option.name.upper()}]" in told


SERVICE = "tcp://10.0.0.1:8080"


def test_the_port_that_kubernetes_sets_for_a_service_of_this_name_is_none(folder, monkeypatch, capsys, caplog):
    (folder / "server.toml").write_text("port = 81\n")
    monkeypatch.setenv("STEPFLOW_PORT", SERVICE)
    assert printed(capsys)["port"] == 8080
    assert printed(capsys, "--config", "server.toml")["port"] == 81
    assert printed(capsys, "--port", "82")["port"] == 82
    assert {one.getMessage() for one in caplog.records} == {
        (
            f"the variable STEPFLOW_PORT={SERVICE} is ignored, which Kubernetes sets for a service of that name: give --port for another port,"
            " or set enableServiceLinks: false in the pod"
        )
    }


REFUSED = [
    ("PORT", "eighty", ["serve"], 2),
    ("JSON_LOGS", "perhaps", ["serve"], 2),
    ("JSON_LOGS", "perhaps", ["worker", "settings_flows", "--store", "sqlite:///a.db"], 2),
    ("TOKENS", "absent.toml", ["serve"], 1),
    ("CERTIFICATE", "absent.pem", ["serve", "--key", "k.pem"], 1),
    ("KEY", "absent.pem", ["serve"], 2),
    ("HOST", "no.such.host.invalid", ["serve"], 2),
    ("FLOWS", "settings_flows absent.flows", ["serve"], 2),
    ("FLOWS", "absent.flows", ["fork", "a", "--rev", "1", "--store", "sqlite:///a.db"], 2),
    ("STORE", "mysql://shop", ["serve"], 1),
    ("STORE", "mysql://shop", ["list"], 1),
    ("PAYLOAD", "absent.keys:stages", ["list", "--store", "sqlite:///a.db"], 2),
    ("NAMESPACE", "a" * 600, ["start", "settings_flows", "--store", "sqlite:///a.db"], 1),
]


@pytest.mark.parametrize(("name", "value", "args", "code"), REFUSED)
def test_a_value_of_a_variable_that_is_refused_is_told_with_the_variable(folder, monkeypatch, capsys, name, value, args, code):  # fmt: skip
    (folder / "settings_flows.py").write_text(
        "from stepflow import named\n\nflow = named('a.v1').do('a', print).compile()\n"
    )
    (folder / "tokens.toml").write_text('["a"]\nsha256 = "' + "0" * 64 + '"\nscope = "read"\n')
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv(f"STEPFLOW_{name}", value)
    monkeypatch.setattr(serve, "_open_once", lambda _driver: pytest.fail("it would serve"))
    assert run(args) == code
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.endswith(f"; the variable STEPFLOW_{name} says so: change it, or unset it"), told


def test_a_value_of_an_option_is_not_told_as_that_of_a_variable(monkeypatch, capsys):
    monkeypatch.setenv("STEPFLOW_STORE", "mysql://shop")
    assert run(["list", "--store", "mysql://bank"]) == 1
    assert "STEPFLOW_STORE" not in capsys.readouterr().err
