"""Every setting that is refused, in words for the person who set it; and what is derived from those that aren't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bulk_issue.config import Account, Config, LedgerUrl, Pace, Reading, Share
from bulk_issue.errors import ConfigError
from bulk_issue.model import IdentifierKind

URL = "https://eu.api.example.com"
SECRET = "s3cret-of-the-test"


def account(**given: Any) -> Account:
    """An account with Basic credentials, unless others are given."""
    return Account(**{"base_url": URL, "user": "till01", "password": SECRET} | given)


def oauth(**given: Any) -> Account:
    return Account(**{"base_url": URL, "client_key": "key01", "client_secret": SECRET} | given)


def config(**given: Any) -> Config:
    settings: dict[str, Any] = {"account": account(), "series_id": 544770, "ledger": Path("ledger.db")} | given
    return Config(**settings)


# --- the account ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_url": ""}, "--base-url is missing"),
        ({"base_url": "eu.api.example.com"}, "is not an address"),
        ({"base_url": "ftp://eu.api.example.com"}, "is not an address"),
        ({"base_url": "https://"}, "is not an address"),
        ({"base_url": "http://eu.api.example.com"}, "unencrypted"),
        ({"base_url": "http://127.0.0.1.example.com"}, "unencrypted"),
        ({"base_url": f"https://till01:{SECRET}@eu.api.example.com"}, "must not hold a user or password"),
        ({"base_url": f"https://{SECRET}@eu.api.example.com"}, "must not hold a user or password"),
        ({"client_key": "key01"}, "both Basic and OAuth"),
        ({"client_secret": SECRET}, "both Basic and OAuth"),
        ({"user": "", "password": ""}, "no credentials"),
        ({"password": ""}, "the password is missing"),
        ({"user": ""}, "the user is missing"),
        ({"user": "", "password": "", "client_key": "key01"}, "the client secret is missing"),
        ({"user": "", "password": "", "client_secret": SECRET}, "the client key is missing"),
        ({"entity_code": "store01"}, "attribution headers need OAuth"),
    ],
)
def test_an_impossible_account_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        account(**given)

    assert said in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 2
    assert SECRET not in f"{caught.value.message} {caught.value.hint} {caught.value!r}"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "LOCALHOST"])
def test_plain_http_is_taken_for_this_machine(host: str) -> None:
    assert account(base_url=f"http://{host}").base_url == f"http://{host}"


def test_attribution_headers_are_taken_with_oauth() -> None:
    assert oauth(entity_type="STORE_CODE", entity_code="store01").entity_code == "store01"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://EU.Api.Example.com", "eu.api.example.com"),
        ("https://eu.api.example.com/", "eu.api.example.com"),
        ("https://eu.api.example.com:443/", "eu.api.example.com"),
        ("https://eu.api.example.com:8443", "eu.api.example.com:8443"),
        ("http://LocalHost:80", "localhost"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
    ],
)
def test_the_host_is_canonical(url: str, host: str) -> None:
    assert account(base_url=url).host == host


def test_the_account_is_named_by_host_and_key_but_never_by_secrets() -> None:
    assert account(base_url="https://EU.api.example.com:443/").name == "eu.api.example.com#till01"
    assert oauth().name == "eu.api.example.com#key01"


@pytest.mark.parametrize("shown", [account(), oauth(), config(), config(account=oauth())])
def test_secrets_are_in_no_repr(shown: object) -> None:
    assert SECRET not in repr(shown)
    assert SECRET not in str(shown)


# --- the run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("series_id", 0, "--series"),
        ("series_id", -1, "--series"),
        ("rate", 0, "--rate"),
        ("connections", 0, "--connections"),
        ("max_attempts", 0, "--max-attempts"),
        ("canary", -1, "--canary"),
        ("per", 0.0, "--per"),
        ("per", -60.0, "--per"),
        ("timeout", 0.0, "--timeout"),
        ("send_within", 0.0, "--send-within"),
        ("grace", -0.1, "--grace"),
        ("reconcile_for", -1.0, "--reconcile-for"),
        ("first", 0, "--first"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(name: str, value: float, option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})

    assert caught.value.message.startswith(f"{option} ")
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_the_least_values_are_taken() -> None:
    least = config(
        series_id=1,
        rate=1,
        connections=1,
        max_attempts=1,
        canary=0,
        per=0.001,
        timeout=0.001,
        send_within=0.001,
        grace=0.0,
        reconcile_for=0.0,
        first=1,
    )

    assert (least.canary, least.grace, least.first) == (0, 0.0, 1)


def test_the_defaults_are_those_of_the_docs() -> None:
    run = config()

    assert (run.rate, run.per, run.pace) == (300, 60.0, Pace.AUTO)
    assert (run.timeout, run.grace, run.send_within, run.reconcile_for) == (30.0, 120.0, 5.0, 600.0)
    assert (run.max_attempts, run.canary, run.first) == (4, 1, None)
    assert (run.max_doubt, run.max_failures) == (Share(percent=10.0), Share(percent=5.0))


def test_an_unanswered_permit_stays_taken_for_time_out_and_grace() -> None:
    budget = config(rate=100, per=30.0, timeout=10.0, grace=50.0).budget

    assert (budget.account, budget.rate, budget.per, budget.unanswered) == (account().name, 100, 30.0, 60.0)


def test_a_request_lingers_for_its_look_up_its_moment_to_leave_and_its_time_out() -> None:
    assert config(timeout=10.0, send_within=5.0).budget.lingers == 15.0
    assert config(timeout=10.0, send_within=5.0, look_first=True).budget.lingers == 25.0


def test_only_the_reading_options_that_were_given_are_recorded() -> None:
    assert Reading().as_text() == {}

    given = Reading(
        map={IdentifierKind.MOBILE: "Phone No", IdentifierKind.EMAIL: "Mail"},
        identify_by=IdentifierKind.MOBILE,
        delimiter=";",
    )
    assert given.as_text() == {"map": "email=Mail mobile=Phone No", "identify_by": "mobile", "delimiter": ";"}


# --- shares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("25", Share(count=25)),
        ("0", Share(count=0)),
        ("5%", Share(percent=5.0)),
        ("0%", Share(percent=0.0)),
        ("100%", Share(percent=100.0)),
        ("2.5%", Share(percent=2.5)),
    ],
)
def test_a_share_is_a_count_or_a_percentage(text: str, share: Share) -> None:
    assert Share.parse(text, "--max-failures") == share


@pytest.mark.parametrize("text", ["", "%", "many", "-1", "1.5", "5 percent", "-1%", "101%", "nan%", "inf%", "%5"])
def test_anything_else_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Share.parse(text, "--max-failures")

    assert caught.value.message.startswith(f"--max-failures {text!r} ")
    assert "25 or 5%" in caught.value.hint


# --- where the ledger is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann@db.example.com/ledger", "postgresql://ann@db.example.com/ledger"),
        ("postgresql://ann:s3cret@db:5433/ledger?sslmode=verify-full", "postgresql://ann@db:5433/ledger"),
        ("postgresql://ann:s3%40cret@a:1,b:2/ledger", "postgresql://ann@a:1,b:2/ledger"),
        ("postgres://ann:s3@cret@[::1]:5432/ledger", "postgres://ann@[::1]:5432/ledger"),
        ("postgresql:///ledger?host=/run/postgresql&password=s3cret", "postgresql:///ledger"),
    ],
)
def test_a_ledgers_url_is_shown_without_its_password(url: str, shown: str) -> None:
    place = LedgerUrl(url)

    assert str(place) == f"{place}" == shown
    assert repr(place) == "LedgerUrl()"
    assert place.has_password == ("s3" in url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3/cret@db/ledger",
        "postgresql://ann:s3?cret@db/ledger",
        "postgresql://ann:s3#cret@db/ledger",
        "postgresql://ann:s3[cret@db/ledger",
        "postgresql://ann:s3cret",
        "mysql://ann:s3cret@db/ledger",
    ],
)
def test_a_ledgers_url_that_cant_be_understood_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LedgerUrl(url)

    assert "s3" not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__!r}"
