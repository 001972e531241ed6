"""The web configuration file: what is right loads, what is wrong is one line that names file and key."""

import base64
import logging
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest

from exporters import web_config
from exporters.passwords import Passwords
from exporters.web_config import Bucket, WebConfig
from remote.errors import ConfigError

# Of "secret", as htpasswd writes it.
HASH = "$2y$04$CiWH8YY4Up05p6Y8gZ7Zm.avurnakVdcuh3RyJhBSONJh9a/ZhC4O"
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


@pytest.fixture
def web(tmp_path: Path, certificates: Path) -> Callable[[str], Path]:
    """Writes web.yml beside certificates."""
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)

    def write(text: str) -> Path:
        path = tmp_path / "web.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_everything_that_can_be_said_is_taken(web: Callable[[str], Path]) -> None:
    """Paths are relative to the file, as the exporter-toolkit has them."""
    text = f"""\
{TLS}  client_ca_file: ca.crt
  client_auth_type: RequireAndVerifyClientCert
  client_allowed_sans: [prometheus.example, "2001:DB8:0::1"]
  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: false
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  prometheus: {HASH}
rate_limit:
  interval: 1m500ms
  burst: 3
"""
    found = web_config.load(web(text))

    assert found.context is not None
    assert ssl.CERT_REQUIRED == found.context.verify_mode
    assert (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) == (
        found.context.minimum_version,
        found.context.maximum_version,
    )
    assert not found.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert {"prometheus.example", "2001:db8::1"} == found.sans
    assert {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=31536000"} == found.headers
    assert {"prometheus": HASH} == found.users
    assert [True, True, True, False] == [found.bucket is not None and found.bucket.take() for _ in range(4)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}\n"])
def test_an_empty_file_asks_for_nothing(web: Callable[[str], Path], text: str) -> None:
    """The toolkit takes it as well: plain HTTP, no password."""
    found = web_config.load(web(text))
    assert (None, {}, {}, None) == (found.context, found.users, found.headers, found.bucket)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls_config: {}\n", "unknown field `tls_config`"),
        (f"{TLS}  certfile: x\n", r"unknown field `certfile` - at `\$.tls_server_config`"),
        ("[1, 2]\n", "Expected `object`, got `array`"),
        ("a: [\n", "no valid YAML in line 2"),
        (f"{TLS}{TLS}", "no valid YAML in line 4: tls_server_config is there twice"),
        ("tls_server_config:\n", r"got `null` - at `\$.tls_server_config`"),
        ("tls_server_config: {}\n", "cert_file is missing"),
        ("tls_server_config: {cert_file: server.crt}\n", "key_file is missing"),
        ("tls_server_config: {cert_file: no.crt, key_file: server.key}\n", "cert_file: .*no.crt: No such file"),
        ("tls_server_config: {cert_file: server.crt, key_file: ca.key}\n", "key values mismatch"),
        ("tls_server_config: {cert_file: server.ext, key_file: server.key}\n", "server.ext and .*server.key"),
        ("tls_server_config: {cert_file: server.crt, key_file: locked.key}\n", "locked.key is encrypted"),
        ("tls_server_config: {cert: x, key: y}\n", "cert is not supported here: put it into a file: cert_file"),
        (f"{TLS}  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n", "cipher_suites is not supported here"),
        (f"{TLS}  curve_preferences: [X25519]\n", "curve_preferences is not supported here"),
        (f"{TLS}  min_version: TLS10\n", "min_version: 'TLS10' is not supported here: TLS12 or TLS13"),
        (f"{TLS}  min_version: TLS13\n  max_version: TLS12\n", "min_version is above max_version"),
        (f"{TLS}  client_auth_type: RequireAnyClientCert\n", "RequireAnyClientCert is not supported here"),
        (f"{TLS}  client_auth_type: RequestClientCert\n", "RequestClientCert is not supported here"),
        (f"{TLS}  client_auth_type: always\n", "client_auth_type: 'always' is none of NoClientCert"),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n", "RequireAndVerifyClientCert needs client_ca_file"),
        (f"{TLS}  client_ca_file: ca.crt\n", "NoClientCert makes no use of client_ca_file"),
        (
            f"{TLS}  client_ca_file: server.key\n  client_auth_type: RequireAndVerifyClientCert\n",
            "client_ca_file: .*server.key",
        ),
        (f"{TLS}  client_allowed_sans: [a]\n", "client_allowed_sans needs client_auth_type"),
        (f"{TLS}  client_allowed_sans: []\n", r"length >= 1 - at `\$.tls_server_config.client_allowed_sans`"),
        ("http_server_config: {headers: {Server: x}}\n", "headers: Server cannot be set"),
        ("http_server_config: {headers: {X-Frame-Options: no}}\n", "Expected `str`, got `bool`"),
        ("http_server_config: {headers: {X-Frame-Options: 'no'}}\n", "'no' is none of deny, sameorigin"),
        ('http_server_config: {headers: {X-XSS-Protection: "1\\r\\nA: b"}}\n', "X-XSS-Protection: only printable"),
        ("basic_auth_users:\n", r"got `null` - at `\$.basic_auth_users`"),
        ("basic_auth_users: {}\n", r"length >= 1 - at `\$.basic_auth_users`"),
        ("basic_auth_users: {alice: secret}\n", "basic_auth_users: 'alice': no bcrypt hash"),
        (f"basic_auth_users: {{'al:ice': {HASH}}}\n", "has no colon"),
        (f"basic_auth_users: {{12: {HASH}}}\n", "Expected `str`"),
        ("rate_limit: {burst: 3}\n", "missing required field `interval`"),
        ("rate_limit: {interval: 1s}\n", "missing required field `burst`"),
        ("rate_limit: {interval: often, burst: 3}\n", "interval: 'often' is no duration"),
        ("rate_limit: {interval: 5, burst: 3}\n", "at `\\$.rate_limit.interval`"),
        ("rate_limit: {interval: 1s, burst: 0}\n", "at `\\$.rate_limit.burst`"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(web: Callable[[str], Path], text: str, said: str) -> None:
    """Never passed over: what was meant as protection must not be missing in silence."""
    path = web(text)
    # Only the case that names it makes use of this one, which costs a process.
    if "locked" in text:
        words = ("openssl", "ec", "-aes128", "-passout", "pass:x", "-in", "server.key", "-out", "locked.key")
        subprocess.run(words, cwd=path.parent, check=True, capture_output=True, timeout=60)
    with pytest.raises(ConfigError, match=said) as caught:
        web_config.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert 1 == len(str(caught.value).splitlines())


def test_a_broken_file_does_not_show_its_secrets(web: Callable[[str], Path]) -> None:
    """YAML's own message quotes the line with the mistake, and logs are read by many."""
    with pytest.raises(ConfigError) as caught:
        web_config.load(web(f'basic_auth_users:\n  alice: "{HASH}\n'))
    assert HASH[7:] not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        web_config.load(web("basic_auth_users: {alice: plaintextsecret}\n"))
    assert "plaintextsecret" not in str(caught.value)


def test_a_file_that_is_no_text_or_missing_is_an_error(web: Callable[[str], Path]) -> None:
    """At the start there is no good version to go on with."""
    path = web("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no valid YAML, or no text"):
        WebConfig(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"web\.yml: cannot be read: No such file or directory"):
        WebConfig(path)


def test_a_change_counts_at_once_and_a_mistake_changes_nothing(
    web: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The last good version goes on, and it is said once, not at each request."""
    path = web("http_server_config: {headers: {X-XSS-Protection: one}}\n")
    config = WebConfig(path)
    assert {"X-XSS-Protection": "one"} == config.current().headers

    web("http_server_config: {headers: {X-XSS-Protection: two!}}\n")
    assert {"X-XSS-Protection": "two!"} == config.current().headers

    web("http_server_config: {headers: {Server: three}}\n")
    assert [{"X-XSS-Protection": "two!"}] * 3 == [config.current().headers for _ in range(3)]
    assert "Server cannot be set" in config.problem
    assert 1 == len([record for record in caplog.records if record.levelno == logging.ERROR])

    path.unlink()
    assert {"X-XSS-Protection": "two!"} == config.current().headers
    assert "No such file" in config.problem

    web("http_server_config: {headers: {X-XSS-Protection: four}}\n")
    assert {"X-XSS-Protection": "four"} == config.current().headers
    assert "" == config.problem


def test_a_file_that_comes_back_as_it_was_is_no_problem_any_more(web: Callable[[str], Path]) -> None:
    """Moved away and back: nothing about it changed."""
    path = web(TLS)
    config = WebConfig(path)
    path.rename(path.with_suffix(".bak"))
    config.current()
    assert "cannot be read" in config.problem
    path.with_suffix(".bak").rename(path)
    config.current()
    assert "" == config.problem


def test_what_did_not_change_is_not_read_again(web: Callable[[str], Path]) -> None:
    """A scrape costs a few stat(2), not the parsing of YAML and keys."""
    config = WebConfig(web(TLS))
    assert config.current() is config.current()


def test_a_renewed_certificate_is_taken_when_both_halves_are_there(web: Callable[[str], Path]) -> None:
    """The key is often written a moment after the certificate."""
    path = web(TLS)
    config = WebConfig(path)
    before = config.current().context

    os.replace(path.parent / "renewed.crt", path.parent / "server.crt")
    assert config.current().context is before
    assert "key values mismatch" in config.problem

    os.replace(path.parent / "renewed.key", path.parent / "server.key")
    assert config.current().context is not before
    assert "" == config.problem


def test_a_version_that_names_a_missing_certificate_counts_when_it_comes(web: Callable[[str], Path]) -> None:
    """Though only the version that is wrong names it."""
    path = web(TLS)
    config = WebConfig(path)
    web(TLS.replace("server.crt", "new.crt"))
    config.current()
    assert "new.crt" in config.problem
    shutil.copy(path.parent / "server.crt", path.parent / "new.crt")
    config.current()
    assert "" == config.problem


def test_a_key_that_everybody_can_read_is_warned_of(
    web: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It is served all the same: the toolkit does not look."""
    path = web(TLS)
    (path.parent / "server.key").chmod(0o644)
    WebConfig(path)
    assert "everybody can read this key" in caplog.text
    caplog.clear()
    (path.parent / "server.key").chmod(0o640)
    WebConfig(path)
    assert "" == caplog.text


def test_a_bucket_fills_with_time() -> None:
    """Never above its burst."""
    now = [100.0]
    bucket = Bucket(2.0, 2, lambda: now[0])
    assert [True, True, False] == [bucket.take() for _ in range(3)]
    now[0] += 2
    assert [True, False] == [bucket.take() for _ in range(2)]
    now[0] += 1000
    assert [True, True, False] == [bucket.take() for _ in range(3)]


def test_interval_zero_means_no_limit(web: Callable[[str], Path]) -> None:
    """As in the toolkit."""
    for interval in ("0", "0s", '"0"'):
        assert web_config.load(web(f"rate_limit: {{interval: {interval}, burst: 1}}\n")).bucket is None


def _basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


def test_only_the_right_password_of_a_known_user_is_let_in() -> None:
    """Twice each: what is remembered must not let anything else in."""
    users = {"alice": HASH, "bob": bcrypt.hashpw(b"s\xc3\xb6:cret", bcrypt.gensalt(4)).decode()}
    passwords = Passwords()
    right = [b"alice:secret", b"bob:s\xc3\xb6:cret"]
    wrong = [b"alice:", b"alice:secreT", b"bob:secret", b"carol:secret", b":secret", b"alice", b"\xff:secret", b""]
    for _ in range(2):
        assert [True] * len(right) == [passwords.admit(users, _basic(text)) for text in right]
        assert [False] * len(wrong) == [passwords.admit(users, _basic(text)) for text in wrong]
    for header in (
        "",
        "Basic",
        "Basic !!",
        _basic(b"alice:secret") + "!",
        "Bearer abc",
        "Digest " + _basic(b"alice:secret")[6:],
    ):
        assert not passwords.admit(users, header)
    assert passwords.admit(users, _basic(b"alice:secret").replace("Basic", "bAsIc "))


def test_a_changed_hash_shuts_out_who_is_remembered() -> None:
    """So that a password that leaked can be changed without a restart."""
    passwords = Passwords()
    assert passwords.admit({"alice": HASH}, _basic(b"alice:secret"))
    other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
    assert not passwords.admit({"alice": other}, _basic(b"alice:secret"))
    assert not passwords.admit({"bob": HASH}, _basic(b"alice:secret"))


def test_bcrypt_runs_once_for_who_is_right_and_always_for_who_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scrapes stay cheap; an unknown name is not told by being refused sooner."""
    calls = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        calls.append(hashed[:7])
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    dear = bcrypt.hashpw(b"x", bcrypt.gensalt(5)).decode()
    users, passwords = {"alice": HASH, "bob": dear}, Passwords()
    for _ in range(3):
        passwords.admit(users, _basic(b"alice:secret"))
    assert [b"$2y$04$"] == calls
    calls.clear()
    for _ in range(2):
        passwords.admit(users, _basic(b"carol:secret"))
    assert [b"$2b$05$"] * 2 == calls


def test_a_password_of_any_length_and_bytes_is_only_wrong_or_right() -> None:
    """htpasswd takes the first 72 bytes, and so do we; nothing raises."""
    long = b"x" * 100
    users, passwords = {"alice": bcrypt.hashpw(long[:72], bcrypt.gensalt(4)).decode()}, Passwords()
    assert passwords.admit(users, _basic(b"alice:" + long))
    assert not passwords.admit(users, _basic(b"alice:\0" + long))


def test_what_is_remembered_has_an_end() -> None:
    """A thousand right passwords in turn do not fill the memory."""
    passwords = Passwords()
    for number in range(passwords.KEPT + 5):
        passwords._remember(str(number).encode())
    assert passwords.KEPT == len(passwords._right)
    assert not passwords._remembered(b"0")
    assert passwords._remembered(b"104")
