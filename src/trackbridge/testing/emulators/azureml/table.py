"""What is emulated and what not, as data: printed by ``--calls``, and held true by a test."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from trackbridge.testing.emulators.azureml.routes import PACKAGE

OWN, REAL, ABSENT = "own", "real", "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A part of Azure, how it is there, and where it differs.

    ``how`` is ``own`` (the emulator answers itself, with Azure's limits), ``real`` (the product itself, or
    Microsoft's own emulator) or ``no`` (404). ``modules`` have the routes.
    """

    name: str
    how: str
    note: str
    modules: tuple[str, ...] = ()

    def routes(self) -> int:
        """Return how many routes the emulator has of it."""
        named = [f"{PACKAGE}.{name}" for name in self.modules]
        return sum(len(import_module(name).ROUTES) for name in named if find_spec(name) is not None)


AREAS = (
    Area(
        name="Entra ID",
        how=OWN,
        note="managed identity, and a service principal with its password; tokens expire",
    ),
    Area(
        name="Resource Manager",
        how=OWN,
        modules=("slow_operations", "access"),
        note="api-versions, Microsoft's published shapes, slow operations, permissions; no etags",
    ),
    Area(
        name="Workspaces and datastores",
        how=OWN,
        modules=("workspaces", "datastores"),
        note="one subscription with one group; account keys and SAS",
    ),
    Area(
        name="Blob storage",
        how=REAL,
        note="Azurite: account keys, service SAS and tokens that expire, blocks, ranges; no Data Lake",
    ),
    Area(
        name="MLflow endpoint",
        how=REAL,
        modules=("mlflow_endpoint",),
        note="an MLflow server with Azure's limits, and without what Azure lacks; workspaces share its runs",
    ),
    Area(
        name="Run history and artifacts",
        how=OWN,
        modules=("run_history",),
        note="files of runs on Azurite, by signed addresses",
    ),
    Area(
        name="Models, data, environments, code",
        how=OWN,
        modules=("asset_routes",),
        note="versions, archive, pending uploads; no image is built",
    ),
    Area(
        name="Registries",
        how=OWN,
        modules=("registries",),
        note="discovery, assets, import from a workspace; in one region",
    ),
    Area(
        name="Jobs",
        how=OWN,
        modules=("jobs",),
        note="command jobs run as processes of this machine, also several (PyTorch, MPI); no image is pulled",
    ),
    Area(
        name="Computes, sizes of machines, quota",
        how=OWN,
        modules=("computes",),
        note="clusters bound the nodes of jobs; no machine is started",
    ),
    Area(
        name="Key vault",
        how=OWN,
        modules=("vaults",),
        note="the workspace's own, with the public cloud's name: secrets and their versions",
    ),
    Area(
        name="Online endpoints",
        how=OWN,
        modules=("online_endpoints",),
        note="deployments run as processes; traffic, mirror, data collection; nothing scales by itself",
    ),
    Area(
        name="Batch endpoints",
        how=OWN,
        modules=("batch_endpoints",),
        note="invocations are jobs, one mini-batch after the other",
    ),
    Area(
        name="Azure Monitor",
        how=OWN,
        modules=("monitor",),
        note="metrics of what ran, and its logs by a part of KQL; no alerts",
    ),
    Area(
        name="Pipelines, sweeps, schedules, features, private links, roles",
        how=ABSENT,
        note="404, as jobs 400; rights are taken by permissions",
    ),
)


def rows() -> list[tuple[str, str, str, str]]:
    """Return what is to be printed: area, how, number of routes, note."""
    return [(area.name, area.how, str(area.routes() or ""), area.note) for area in AREAS]
