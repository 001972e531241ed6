"""Certificates made by ``openssl``, for tests: a CA, and what it signed."""

import subprocess
from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_ca(directory: Path, name: str) -> Path:
    """NAME.crt and NAME.key."""
    crt = directory / f"{name}.crt"
    files = ("-keyout", str(directory / f"{name}.key"), "-out", str(crt))
    extensions = ("-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")
    # x509 -req below would take the CA's default extensions, so only these count.
    _openssl("req", "-x509", *_NEW_KEY, *files, "-days", "2", "-subj", f"/CN={name}", *extensions)
    return crt


def make_leaf(directory: Path, name: str, *, ca: str, san: str, usage: str = "serverAuth") -> tuple[Path, Path]:
    """NAME.crt and NAME.key, signed by a CA of the same directory."""
    request, crt, key = (directory / f"{name}.{suffix}" for suffix in ("csr", "crt", "key"))
    extensions = directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName={san}\nextendedKeyUsage={usage}\n", encoding="ascii")
    _openssl("req", "-new", *_NEW_KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
    signer = ("-CA", str(directory / f"{ca}.crt"), "-CAkey", str(directory / f"{ca}.key"), "-CAcreateserial")
    _openssl("x509", "-req", "-in", str(request), *signer, "-out", str(crt), "-days", "2", "-extfile", str(extensions))
    return crt, key


def _openssl(*words: str) -> None:
    subprocess.run(("openssl", *words), check=True, capture_output=True, timeout=60)
