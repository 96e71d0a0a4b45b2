"""The contract of a deployment target: every sentence of ``trackbridge.ports.deployments``."""

from __future__ import annotations

from trackbridge.testing.contracts.deployments_captured import CaptureTests
from trackbridge.testing.contracts.deployments_changes import ChangeTests
from trackbridge.testing.contracts.deployments_plans import PlanTests
from trackbridge.testing.contracts.deployments_requests import RequestTests


class DeploymentContract(PlanTests, ChangeTests, RequestTests, CaptureTests):
    """Bind it with a fixture ``adapter`` and a method ``open_again``::

        class TestMyDeployments(DeploymentContract):
            patience_s = 1800.0

            @pytest.fixture(scope="class")
            def adapter(self):
                return open_adapter("mine://…", context=...)

            def open_again(self):
                return open_adapter("mine://…", context=...)

    The adapter is opened, has no endpoints, and may be shared by all tests of the class, which is worth while
    where a deployment takes long: the tests leave the endpoints ``contract``, ``alone`` and ``capturing`` to
    each other, and delete the rest. At the end of the class every endpoint that the adapter lists is deleted.

    ``open_again`` opens the same backend once more, as another process would. ``patience_s`` is how long one
    operation may take at most, and telemetry and logs to arrive; ``poll_s`` how long to wait between two
    looks. ``mirror_percent_max`` is the largest share of the requests whose copies the platform sends.

    The payloads are folders in the MLmodel format (``trackbridge.testing.contracts.deployment_models``): a
    ``python_function`` flavor with its loader in the model's own ``code`` folder, no data, nothing but mlflow
    in its requirements. ``{"inputs": [[1.0], [2.0]]}`` is answered with ``{"predictions": [1.0, 1.0]}`` by
    the model ``one``, with 2.0 by ``two`` and 3.0 by ``three``; ``broken`` raises while it is loaded,
    ``fails`` raises at every request. Override ``payload`` where a target needs another form.

    What a target has to do, beyond what the port's docstrings say:

    - ``plan``: endpoint, deployment, traffic, in this order and only what is needed. What failed is planned
      again. ``deployment_changes`` of the domain does it; a target adds what it cannot hold, as ``Rejected``.
    - Names are letters, digits and single dashes, up to 32, from a letter to no dash.
    - ``apply`` compares what stands with ``before`` and ``after`` in one step with the change; one that
      holds is a finished operation, a third state is ``PlanStale``.
    - A new deployment that does not come up: the operation ends with an error, the deployment is ``FAILED``
      with a reason, and gets no traffic. A replacement that does not come up: the operation ends with an
      error, what served before serves on, ``reason`` says what happened, and the plan is not empty.
    - Shares hold within five standard deviations of what chance alone would do, over up to 400 requests. A
      mirror that fails is not seen. A deployment gets live requests or copies of them, not both.
    - What a model refuses (no payload, an unknown content type) is ``Rejected``, counted as refused.
    """
