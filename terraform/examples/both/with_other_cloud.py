"""Runs a command in a job of one cloud that is signed in to the other one, too, without a secret.

    python with_other_cloud.py bridge migrate SRC DST --yes

The job's own cloud signs a token that tells who the job is. It goes to a file which the other cloud's library
reads (AWS_WEB_IDENTITY_TOKEN_FILE, AZURE_FEDERATED_TOKEN_FILE), and is renewed while the command runs. In
a job of Azure ML the environment has AWS_ROLE_ARN, AZURE_CLIENT_ID and TOKEN_AUDIENCE, in one of SageMaker
AZURE_CLIENT_ID, AZURE_TENANT_ID and TOKEN_AUDIENCE: the outputs migrate_in_azure and migrate_in_aws set them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

RENEWAL_S = 600
TOKEN_S = 3600
"""The longest that STS signs for (botocore, GetWebIdentityToken, DurationSeconds)."""


def token_of_entra(environment: Mapping[str, str]) -> str:
    """Return a token of Entra for the identity of an Azure ML job."""
    from azure.identity import ManagedIdentityCredential

    credential = ManagedIdentityCredential(client_id=environment["AZURE_CLIENT_ID"])
    return str(credential.get_token(f"{environment['TOKEN_AUDIENCE']}/.default").token)


def token_of_aws(environment: Mapping[str, str]) -> str:
    """Return a token of AWS for the role of a SageMaker job; Entra reads RS256 alone."""
    import boto3

    told = boto3.client("sts").get_web_identity_token(
        Audience=[environment["TOKEN_AUDIENCE"]], SigningAlgorithm="RS256", DurationSeconds=TOKEN_S
    )
    return str(told["WebIdentityToken"])


def run(
    command: list[str],
    environment: Mapping[str, str],
    *,
    variable: str,
    token: Callable[[Mapping[str, str]], str],
    renewal_s: float = RENEWAL_S,
) -> int:
    """Run a command with a token in a file; return its exit status.

    Args:
        command: Words.
        environment: Variables; the command has them all.
        variable: Its name for the token's file.
        token: Returns a new token.
        renewal_s: Seconds between tokens.
    """
    with tempfile.TemporaryDirectory() as folder:  # for nobody else: mode 0700
        file = Path(folder, "token")
        file.write_text(token(environment))
        process = subprocess.Popen(command, env={**environment, variable: str(file)})
        while True:
            try:
                return process.wait(timeout=renewal_s)
            except subprocess.TimeoutExpired:
                fresh = file.with_suffix(".new")
                fresh.write_text(token(environment))
                fresh.replace(file)  # whoever reads meanwhile has the whole old one


def main() -> int:
    """Tell by the environment which cloud this is."""
    if len(sys.argv) < 2 or "TOKEN_AUDIENCE" not in os.environ:
        raise SystemExit("usage: TOKEN_AUDIENCE=… python with_other_cloud.py COMMAND…")
    if "AWS_ROLE_ARN" in os.environ:
        return run(sys.argv[1:], os.environ, variable="AWS_WEB_IDENTITY_TOKEN_FILE", token=token_of_entra)
    return run(sys.argv[1:], os.environ, variable="AZURE_FEDERATED_TOKEN_FILE", token=token_of_aws)


if __name__ == "__main__":
    sys.exit(main())
