"""The script as text: what is pure about it."""

import re

import pytest

from remote.script import Captured, Expect, Lock, Query, Script, Secret, Step, joined, masked, needed, new_nonce, render

NONCE = "xvm0123"


def test_a_script_is_one_brace_group() -> None:
    """Nothing stands before it, and after it only the exit that keeps a login shell's rest away."""
    text = render(Script((Step(("true",)),)), NONCE)
    assert (True, True) == (text.startswith("{\n"), text.endswith("m z\n}\nexit\n"))


def test_a_script_for_a_shell_that_stays_is_one_subshell() -> None:
    """Without input; the shell itself says that it is over."""
    text = render(Script((Step(("true",)),)), NONCE, stay=True)
    end = f"m z\n) </dev/null\necho; echo '{NONCE} x'; echo >&2; echo '{NONCE} x' >&2\n"
    assert (True, True) == (text.startswith("(\n"), text.endswith(end))


def test_a_secret_is_written_once_and_in_a_here_document_only() -> None:
    """However often it is used, no command line of the script shows it."""
    secret = Secret("Xyzzy")
    step = Step(("a", secret), undo=("b", secret), unless=("c", secret))
    text = render(Script((step,), (Query(("d", secret), str),)), NONCE)
    assert 1 == text.count("Xyzzy")
    assert f"<<'{NONCE}'\nXyzzy\n{NONCE}\n" in text


@pytest.mark.parametrize("stay", [False, True])
def test_the_script_is_for_the_old_bourne_shell(stay: bool) -> None:
    """None of what the Bourne shell of Solaris does not know: $(...), ``local``, ``export A=B``, ``!``."""
    step = Step(
        ("a",), undo=("b",), unless=("c",), accept=("x",), retry=("y",), expect=(Expect("p", "1"),), silent=True
    )
    text = render(Script((step,), lock=Lock("l", "me"), become=("pfexec",)), NONCE, stay=stay)
    assert not re.search(r"\$\(|\blocal\b|export \w+=|^ *! |\[\[|\$\{\w+(#|%)", text, re.MULTILINE)


def test_nonces_differ() -> None:
    """No two scripts have the same fence, and a fence needs no quoting."""
    nonces = {new_nonce() for _ in range(100)}
    assert 100 == len(nonces)
    assert all(re.fullmatch(r"xvm[0-9a-f]{24}", nonce) for nonce in nonces)


def test_masked_shows_what_an_admin_would_type() -> None:
    """Words are quoted where a shell needs it, secrets masked, captured words named."""
    argv = ("zfs", "set", "a:b=it's", "", Secret("x"), Captured("guid"), Captured("tpg", "t=", ";"))
    assert "zfs set 'a:b=it'\"'\"'s' '' <secret> $guid t=$tpg;" == masked(argv)


def test_joined() -> None:
    """Text goes before a word or a captured word; a secret is a file and cannot be part of a word."""
    assert ("a=b", Captured("x", "a=b", "c")) == (joined("a=", "b"), joined("a=", Captured("x", "b", "c")))
    with pytest.raises(TypeError, match="secret"):
        joined("a=", Secret("b"))


def test_needed() -> None:
    """Only a captured word is one a question cannot do without."""
    assert ("x", None, None) == (needed(Captured("x", "y")), needed("x"), needed(Secret("x")))


def test_a_secret_is_not_shown() -> None:
    """Neither its repr nor that of what it is part of has the value."""
    assert "<secret>" == repr(Secret("Xyzzy"))
    assert "Xyzzy" not in repr(Script((Step(("a", Secret("Xyzzy"))),)))


def test_become_is_quoted() -> None:
    """Its words go before the command as words, whatever is in them."""
    text = render(Script((Step(("zfs", "list")),), become=("sudo", "-u", "a b")), NONCE)
    assert "\nsudo -u 'a b' zfs list </dev/null" in text


@pytest.mark.parametrize("text", ["caf\xe9", "x\x80", "a\0b"])
def test_a_secret_is_ascii(text: str) -> None:
    """Some shells garble other bytes in a here-document, so they are refused before they are sent; unseen."""
    with pytest.raises(ValueError, match="ASCII") as error:
        Secret(text)
    assert text not in str(error.value)
