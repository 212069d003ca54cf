"""What signs a request to Azure, held against the specification's own example; Azurite is the second opinion."""

import datetime as dt
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfs.azure_signing import AzureBearer, AzureKey, AzureSas, authorized, string_to_sign

NOW = dt.datetime(2024, 5, 1, 10, 11, 12, tzinfo=dt.UTC)
SECRET = "aHVudGVyMg=="  # "hunter2"


def test_string_to_sign_is_the_specifications_example() -> None:
    url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=list&prefix=a%20b%2F&Timeout=20"
    headers = {"x-ms-version": "2015-02-21", "x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT", "User-Agent": "not signed"}
    assert string_to_sign(url, headers, "myaccount") == (
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:list\nprefix:a b/\nrestype:container\ntimeout:20"
    )


def test_key_signs_and_an_emulators_account_comes_twice() -> None:
    url, headers = authorized("http://h/acct/c?comp=list", {}, AzureKey("acct", SECRET), now=NOW)
    assert url == "http://h/acct/c?comp=list"
    assert headers["x-ms-date"] == "Wed, 01 May 2024 10:11:12 GMT"
    assert headers["Authorization"].startswith("SharedKey acct:")
    assert "\n/acct/acct/c\ncomp:list" in string_to_sign(url, headers, "acct")


def test_sas_goes_into_the_url_and_a_token_into_a_header() -> None:
    sas = AzureSas.of("sv=1&sig=a%2Bb")
    assert sas is not None
    assert authorized("http://h/c", {}, sas, now=NOW)[0] == "http://h/c?sv=1&sig=a%2Bb"
    assert authorized("http://h/c?x=y", {}, sas, now=NOW)[0] == "http://h/c?x=y&sv=1&sig=a%2Bb"
    assert authorized("http://h/c", {}, AzureBearer("t", 0), now=NOW)[1]["Authorization"] == "Bearer t"
    assert "Authorization" not in authorized("http://h/c", {}, None, now=NOW)[1]


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("sig=x&se=2024-05-01T10:11:12Z", 1714558272),
        ("sig=x&se=2024-05-01T10%3A11%3A12Z", 1714558272),
        ("sig=x&se=2024-05-01T10:11Z", 1714558260),
        ("sig=x&se=2024-05-01", 1714521600),
        ("sig=x&se=2024-05-02&ske=2024-05-01", 1714521600),
        ("sig=x&se=never", None),
        ("sig=x&si=policy", None),
    ],
)
def test_sas_tells_when_it_ends(text: str, expires: float | None) -> None:
    sas = AzureSas.of(text)
    assert sas is not None
    assert sas.expires_at == expires


@pytest.mark.parametrize("text", ["", "sig=", "se=2024-05-01", "signature=x", "&&="])
def test_text_without_a_signature_is_no_sas(text: str) -> None:
    assert AzureSas.of(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sig=x&se=2024-04-01&sp=rl", "expired at 2024-04-01"),
        ("sig=x&st=2024-06-01&sp=rl", "valid only from 2024-06-01"),
        ("sig=x&sp=r", "--permissions rl"),
        ("sig=x&sp=rl&ss=b&srt=o", "--resource-types co"),
        ("sig=x&sp=rl&sr=b", "for one blob"),
        ("sig=x&sp=racwdl&sr=c&se=2025-01-01", ""),
    ],
)
def test_sas_complains_about_itself(text: str, says: str) -> None:
    sas = AzureSas.of(text)
    assert sas is not None
    complaint = sas.complaint(NOW.timestamp())
    assert says in complaint
    assert bool(says) == bool(complaint)


@given(st.text(min_size=1))
def test_signature_is_the_same_encoded_or_not(signature: str) -> None:
    encoded = AzureSas.of(f"sig={quote(signature, safe='')}")
    assert encoded is not None
    assert encoded.token == f"sig={quote(signature, safe='')}"
    if not set(signature) & set("%&"):
        plain = AzureSas.of(f"sig={signature}")
        assert plain == encoded


def test_repr_hides_every_secret() -> None:
    values = AzureKey("acct", SECRET), AzureSas.of(f"sig={SECRET}"), AzureBearer(SECRET, 0)
    assert not [value for value in values if SECRET in repr(value) or "aHVud" in repr(value)]
