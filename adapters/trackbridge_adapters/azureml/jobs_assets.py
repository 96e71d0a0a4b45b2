"""What a job's machine is given, brought into the workspace: one version of code, one of an environment.

::

    bootstrap.py  platform_hooks.py  plan.json  code.tar.gz
        -> GET codes/…?hash=   there already: nothing is sent
        -> POST codes/…/startPendingUpload -> PUT blobs -> PUT codes/NAME/versions/1

The folder of the code goes as an archive: blobs know no modes, and a script that could be executed still can.
Both names come of the content, so that who submits the same again, or at the same moment, finds it.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote

import msgspec

from trackbridge.domain.jobs import Environment
from trackbridge.errors import AuthError, ConfigError, Conflict, NotFound
from trackbridge.transport.http import HttpClient
from trackbridge_adapters import _jobs
from trackbridge_adapters._jobs.code_files import CodeFile, CodeFiles, digest_of
from trackbridge_adapters._jobs.plan import BOOTSTRAP_FILE, HOOKS_FILE, PLAN_FILE, JobPlan
from trackbridge_adapters.azureml.artifacts_upload import send_to_storage
from trackbridge_adapters.azureml.assets import Assets
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.identity import STORAGE_SCOPE, AzureTokens
from trackbridge_adapters.azureml.jobs_request import DEFAULT_IMAGE

HASH_VERSION = "202208"
"""What azure-ai-ml says of its own hashes of code; the service finds versions by hash and this."""
ARCHIVE = "code.tar.gz"
VERSION = "1"
SPOOLED_BYTES = 8 * 1024 * 1024
_REGISTRY = "azureml://registries/"


@dataclass(frozen=True, slots=True)
class Code:
    """What is sent of a job: the plan, and the folder's files."""

    plan: JobPlan
    files: CodeFiles

    def small_files(self) -> dict[str, bytes]:
        """Return the files beside the archive."""
        return {
            BOOTSTRAP_FILE: Path(str(_jobs.__file__)).with_name(BOOTSTRAP_FILE).read_bytes(),
            HOOKS_FILE: Path(__file__).with_name("jobs_hooks.py").read_bytes(),
            PLAN_FILE: msgspec.json.encode(self.plan, order="deterministic"),
        }

    def digest(self) -> str:
        """Return what tells it from other code."""
        total = hashlib.sha256(digest_of(self.files).encode())
        for name, content in sorted(self.small_files().items()):
            total.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return total.hexdigest()


class JobAssets:
    """Code and environments of jobs in one workspace. Any thread may use it.

    Args:
        assets: Of the workspace.
        http: Sends blobs.
    """

    def __init__(self, assets: Assets, http: HttpClient) -> None:
        self._assets = assets
        self._http = http

    # Code.

    def code_id(self, digest: str) -> str:
        """Return the id that code of a digest gets."""
        return self._assets.id_of("codes", f"bridge-{digest[:32]}", VERSION)

    def bring_code(self, code: Code) -> str:
        """Return the id of the code's version, which is made where there is none."""
        digest = code.digest()
        name = f"bridge-{digest[:32]}"
        path = f"{self._assets.scope}/codes/{name}/versions"
        query = {"hash": digest, "hashVersion": HASH_VERSION}
        for found in self._assets.arm.pages(path, "codes", query=query):
            return str(found["id"])
        address = self._uploaded(f"{path}/{VERSION}", code)
        noted = {"hash_sha256": digest, "hash_version": HASH_VERSION}
        body = {"codeUri": address, "isAnonymous": True, "properties": noted}
        try:
            self._assets.arm.put(f"{path}/{VERSION}", "codes", {"properties": body})
        except Conflict:  # somebody who sent the same was faster, to another address
            self._assets.version("codes", name, VERSION)
        return self.code_id(digest)

    def _uploaded(self, path: str, code: Code) -> str:
        """Send the files, and return where they lie."""
        asked = {"pendingUploadType": "TemporaryBlobReference"}
        answer = self._assets.arm.post(f"{path}/startPendingUpload", "codes", asked)
        place = answer.get("blobReferenceForConsumption") or {}
        base = str(place.get("blobUri") or "").rstrip("/")
        signature = str((place.get("credential") or {}).get("sasUri") or "").partition("?")[2]
        headers = {"x-ms-blob-type": "BlockBlob"}
        if not signature:
            headers["Authorization"] = f"Bearer {self._storage_token()}"

        def send(name: str, body: Any) -> None:
            url = f"{base}/code/{quote(name)}" + (f"?{signature}" if signature else "")
            send_to_storage(self._http, "PUT", url, body=body, headers=headers).close()

        for name, content in code.small_files().items():
            send(name, content)
        with _archive(code.files.files) as archive:
            send(ARCHIVE, lambda: _from_start(archive))
        return f"{base}/code"

    def _storage_token(self) -> str:
        authentication = self._http.authentication
        if isinstance(authentication, AzureTokens):
            return authentication.beside(STORAGE_SCOPE).current()
        raise AuthError(
            "the workspace signs no address for the code, and nobody is signed in for its storage",
            adapter=ADAPTER,
            hint="use the option sign_in, as somebody with the role 'Storage Blob Data Contributor'",
        )

    # Environments.

    def environment_id(self, environment: Environment) -> str:
        """Return the id that an environment has, or gets; one that is named is looked for.

        Raises:
            NotFound: There is none of the name.
        """
        image = environment.image or ""
        if image.startswith(_REGISTRY):
            return image
        if image.startswith("azureml:"):
            name, _, version = image.removeprefix("azureml:").partition("@" if "@" in image else ":")
            if "@" in image or not version:
                return str(self._assets.latest("environments", name)["id"])
            return str(self._assets.version("environments", name, version)["id"])
        return self._assets.id_of("environments", _environment_name(environment_of(environment)), VERSION)

    def bring_environment(self, environment: Environment) -> str:
        """Return the id of an environment, which is made where there is none."""
        if is_named(environment):
            return self.environment_id(environment)
        wanted = environment_of(environment)
        name = _environment_name(wanted)
        if self._assets.find_version("environments", name, VERSION) is None:
            path = f"{self._assets.scope}/environments/{name}/versions/{VERSION}"
            self._assets.arm.put(path, "environments", {"properties": wanted})
        return self._assets.id_of("environments", name, VERSION)


def is_named(environment: Environment) -> bool:
    """Tell whether an environment is one that the workspace, or a registry, has."""
    return (environment.image or "").startswith("azureml:")


def is_built(environment: Environment) -> bool:
    """Tell whether Azure builds an image with what is required: where a version of Python is."""
    return environment.python is not None


def environment_of(environment: Environment) -> dict[str, str]:
    """Return the properties of the version that an environment becomes.

    Raises:
        NotFound: There is no conda file.
        ConfigError: It cannot be read.
    """
    made = {"image": environment.image or DEFAULT_IMAGE, "osType": "Linux"}
    if environment.conda_file is not None:
        return {**made, "condaFile": _read(environment.conda_file)}
    if is_built(environment):
        packages = [f"python={environment.python}", "pip", {"pip": list(environment.requirements)}]
        if not environment.requirements:
            del packages[1:]
        wanted = {"channels": ["conda-forge"], "dependencies": packages}
        return {**made, "condaFile": msgspec.json.encode(wanted).decode()}  # JSON is YAML
    return made


def _environment_name(properties: dict[str, str]) -> str:
    content = msgspec.json.encode(properties, order="deterministic")
    return f"bridge-{hashlib.sha256(content).hexdigest()[:32]}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", adapter=ADAPTER, hint="name one that exists") from None
    except (OSError, ValueError) as error:
        hint = "name a text file"
        raise ConfigError(f"{path!r} cannot be read: {error}", adapter=ADAPTER, hint=hint) from error


@contextmanager
def _archive(files: tuple[CodeFile, ...]) -> Iterator[IO[bytes]]:
    """Yield the archive of files: the same bytes for the same files."""
    with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as made:
        packed = gzip.GzipFile(fileobj=cast("IO[bytes]", made), mode="wb", mtime=0, filename="")
        with closing(packed), tarfile.open(fileobj=packed, mode="w") as archive:
            for file in files:
                member = tarfile.TarInfo(file.path)
                with open(file.source, "rb") as source:
                    source.seek(0, 2)
                    member.size, member.mode = source.tell(), file.mode
                    source.seek(0)
                    archive.addfile(member, source)
        yield cast("IO[bytes]", made)


def _from_start(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file
