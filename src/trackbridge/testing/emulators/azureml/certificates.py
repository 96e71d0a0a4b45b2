"""A certificate of the emulator's own, for Azure's host names and for this machine; made anew at each start.

Only who is told of its file trusts it: nothing is put into the system's store.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.azureml.addresses import Suffixes
from trackbridge.testing.emulators.azureml.vaults import SUFFIX as VAULT_SUFFIX

LASTS = timedelta(days=30)


class Certificates:
    """An authority, and a certificate that it signed.

    Args:
        folder: Where the files go: ``authority.pem``, ``trusted.pem``, ``server.pem`` (with its key, 0600).
        suffixes: The cloud whose host names it is for.
        region: Of the workspace.
    """

    def __init__(self, folder: Path, suffixes: Suffixes, region: str) -> None:
        self.authority, self.trusted = folder / "authority.pem", folder / "trusted.pem"
        self.server = server = folder / "server.pem"
        authority, content = _made(hosts_of(suffixes, region))
        self.authority.write_bytes(authority)
        self.trusted.write_bytes(authority + b"\n" + _of_the_world())
        server.touch(mode=0o600)
        server.write_bytes(content)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(server)


def hosts_of(suffixes: Suffixes, region: str) -> list[str]:
    """Return the host names that the emulator answers for."""
    return [
        "localhost",
        suffixes.resource_manager,
        suffixes.login,
        suffixes.studio,
        f"*.{suffixes.studio}",
        f"*.{suffixes.service}",
        f"*.blob.{suffixes.storage}",
        f"*.{region}.inference.{suffixes.studio}",
        f"{region}.{suffixes.metrics}",
        suffixes.logs,
        f"*.{VAULT_SUFFIX}",
    ]


def _made(hosts: list[str]) -> tuple[bytes, bytes]:
    """Return the authority's certificate; and the server's, with its key and the authority's."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _named("trackbridge's emulator of Azure ML")
    root = _signed(
        _begun(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False),
        authority_key,
    )
    names = [*map(x509.DNSName, hosts), x509.IPAddress(ip_address("127.0.0.1"))]
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    leaf = _signed(
        _begun(_named("localhost"), issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False),
        authority_key,
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    authority = root.public_bytes(Encoding.PEM)
    return authority, leaf.public_bytes(Encoding.PEM) + secret + authority


def _named(name: str) -> Any:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _begun(subject: Any, issuer: Any, key: Any) -> Any:
    from cryptography import x509

    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LASTS)
    )


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: Any, key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _of_the_world() -> bytes:
    """Return what programs here trust anyway, so that who trusts this file still reaches others."""
    import certifi

    told = (os.environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    files = {certifi.where(), ssl.get_default_verify_paths().cafile, *told}
    return b"\n".join(Path(file).read_bytes() for file in sorted(filter(None, files)) if Path(file).is_file())
