"""Names of files that hold passwords, tokens and keys, and globs by which a person says that one does not."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

_SECRET = (  # a file's name, or its folder's and its own
    ".env", ".env.*", "*.env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials",
    ".dockercfg", ".s3cfg", ".boto", ".vault-token", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_*_sk", "*.pem",
    "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "credentials", "credentials.json",
    "client_secret*.json", "service-account*.json", "service_account*.json", "application_default_credentials.json",
    "kubeconfig", "*.kubeconfig", "secrets.json", "secrets.toml", "secrets.yaml", "secrets.yml", "rclone.conf",
    ".dvc/config.local", ".aws/config", ".kube/config", ".docker/config.json", ".ssh/*",
)  # fmt: skip
_NOT_SECRET = ("*.pub", "*.example", "*.sample", "*.template", "*.dist", "example.env", "sample.env", "template.env")


def is_secret_file_name(path: str) -> bool:
    """Whether the name says that the file holds a secret: `.env`, `conf/id_rsa`; not `id_rsa.pub`, `.env.example`."""
    parts = PurePosixPath(path.casefold()).parts
    name, with_folder = parts[-1], "/".join(parts[-2:])
    if any(fnmatchcase(name, glob) for glob in _NOT_SECRET):
        return False
    return any(fnmatchcase(name, glob) or fnmatchcase(with_folder, glob) for glob in _SECRET)


def is_named_by(path: str, globs: Iterable[str]) -> bool:
    """Whether a glob names the path, a folder above it or, where the glob has no slash, the file's name alone."""
    file = PurePosixPath(path)
    places = [path, *(folder.as_posix() for folder in file.parents)]
    for glob in globs:
        own = [*places, file.name] if "/" not in glob.rstrip("/") else places
        if any(fnmatchcase(place, glob.rstrip("/")) for place in own):
            return True
    return False
