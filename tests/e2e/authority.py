"""A certificate authority of our own, and what TLSA records say about certificates."""

import datetime
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """issue(...) gives certificates; .file is what a client has to trust."""

    def __init__(self, directory, name="Test CA"):
        self.directory, self.name = directory, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.subject, self.key.public_key(), DAY, 365 * DAY, ca=True)
        self.file = directory / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject, public_key, age, left, names=(), ca=False):
        now = datetime.datetime.utcnow()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age)
            .not_valid_after(now + left)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, *names, left=30 * DAY):
        """A certificate for these names, with its chain; left may be negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        return Issued(self, names, key, self._sign(subject, key.public_key(), 30 * DAY, left, names))


class Issued:
    """A certificate and its key; .pair are the files."""

    def __init__(self, authority, names, key, certificate):
        self.certificate = certificate
        pem = serialization.Encoding.PEM
        base = authority.directory / f"{authority.name.replace(' ', '-')}-{certificate.serial_number}"
        chain = base.with_suffix(".crt")
        chain.write_bytes(certificate.public_bytes(pem) + authority.certificate.public_bytes(pem))
        private = base.with_suffix(".key")
        private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        self.pair = (chain, private)


def tlsa(certificate, usage=3, selector=1, matching=1):
    """The RDATA as text: "3 1 1 ...". certificate: of an Authority or an Issued, whose attribute it is."""
    der = serialization.Encoding.DER
    if selector:
        data = certificate.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    else:
        data = certificate.public_bytes(der)
    digest = {0: lambda d: d.hex(), 1: lambda d: hashlib.sha256(d).hexdigest(), 2: lambda d: hashlib.sha512(d).hexdigest()}
    return f"{usage} {selector} {matching} {digest[matching](data)}"
