"""TLS: the certificate that a tier shows its callers, and the authorities that a caller trusts."""

import ssl
from pathlib import Path

from ddnn.errors import BadConfig

__all__ = ["check_certificate", "trusted"]


def check_certificate(certificate: Path | None, key: Path | None) -> None:
    """Raise `BadConfig` unless a server can show `certificate`, PEM with its chain, of which `key` is the open key."""
    if certificate is None or key is None:
        present, missing = ("DDNN_TLS_KEY", "DDNN_TLS_CERTIFICATE") if key else ("DDNN_TLS_CERTIFICATE", "DDNN_TLS_KEY")
        raise BadConfig(f"{present} is set and {missing} is not; expected both, or neither for plain HTTP")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=_refuse)
    except OSError as error:  # an `SSLError` is one too
        why = error.strerror or str(error)
        raise BadConfig(
            f"DDNN_TLS_CERTIFICATE {certificate} and DDNN_TLS_KEY {key} cannot be used ({why}); "
            "expected a PEM certificate with its chain, and its key, which no password protects"
        ) from error


def trusted(url: str) -> ssl.SSLContext | bool:
    """Whom a caller of `url` trusts: the system's authorities, or those of `SSL_CERT_FILE`.

    False where it is not https: loading them takes tens of milliseconds and megabytes.
    """
    return ssl.create_default_context() if url.startswith("https://") else False


def _refuse() -> str:
    raise OSError("the key is protected by a password")
