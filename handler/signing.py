"""The signature of a bundle: Ed25519 over the bytes of ``model.json``, in ``model.json.sig`` beside it.

The manifest holds the sha256 of every file, so its signature is that of the whole bundle. The file holds
the signature's 64 bytes and nothing else, as ``openssl pkeyutl -sign -rawin`` writes them, too.
https://www.rfc-editor.org/rfc/rfc8032
"""

from __future__ import annotations

from pathlib import Path

from handler.errors import BundleError, SettingError

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
except ImportError as error:
    raise BundleError(
        "cryptography is not installed, and signatures need it: install requirements/serve.txt"
    ) from error

VARIABLE = "MODEL_PUBLIC_KEY"


def verify(public_key: str, content: bytes, path: str) -> None:
    """Raise ``BundleError`` unless the file at ``path`` is a signature of ``content`` by the key's owner.

    ``public_key`` is PEM text, or the path of a file that holds it; else raises ``SettingError``.
    """
    key = _public_key(public_key)
    try:
        signature = Path(path).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read, and {VARIABLE} asks for a signature: make it with "
            "'python -m handler sign --key PRIVATE.pem', or serve a bundle that is signed"
        ) from error
    try:
        key.verify(signature, content)
    except InvalidSignature as error:
        raise BundleError(
            f"{path} is not a signature of model.json by the owner of {VARIABLE}: the bundle was changed "
            "after it was signed, or signed with another key"
        ) from error


def sign(private_key: Path, content: bytes) -> bytes:
    """The signature of ``content`` by the key in a PEM file; raises ``BundleError``."""
    rule = (
        "must hold an Ed25519 private key in PEM without a passphrase: openssl genpkey -algorithm ed25519"
    )
    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise BundleError(f"{private_key} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{private_key} {rule}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{private_key} {rule}")
    return key.sign(content)


def _public_key(given: str) -> Ed25519PublicKey:
    try:
        # Where an environment variable cannot hold line ends, they are written as \n.
        text = (
            given.replace("\\n", "\n") if "-----BEGIN" in given else Path(given).read_text(encoding="ascii")
        )
        key = load_pem_public_key(text.encode())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SettingError(VARIABLE, RULE) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingError(VARIABLE, RULE)
    return key


RULE = "must be an Ed25519 public key in PEM, or the path of a file that holds one"
