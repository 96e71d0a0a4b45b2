"""Requests of every service on one port of this machine: checked, answered here or by moto, remembered."""

from __future__ import annotations

import re
import threading
import traceback
import uuid
from collections import deque
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.aws_services import TokenService
from trackbridge.testing.emulators.listener import Arrived, Listener, Sent
from trackbridge.testing.emulators.sagemaker import errors, limits, protocol, storage_rules
from trackbridge.testing.emulators.sagemaker.access import Access
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation
from trackbridge.testing.emulators.sagemaker.faults import Faults
from trackbridge.testing.emulators.sagemaker.moto_app import MotoApp
from trackbridge.testing.emulators.sagemaker.operations import all_operations
from trackbridge.testing.emulators.sagemaker.protocol import Answer
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request

CALLS_MAX = 100_000
PATH_LOCKS = 64
READS_MAX = 5
_CODE = re.compile(rb"<Code>(\w+)</Code>")
_REST_SERVICES = ("sagemaker-metrics", "sagemaker-runtime")


@dataclass(slots=True)
class Call:
    """A request that came, and how it was answered. ``code`` is AWS's name of the error, or empty.

    ``name`` is the operation; of S3 ``operation`` is the right that IAM asks for.
    """

    service: str
    operation: str
    params: dict[str, Any]
    caller: str = ""
    status: int = 200
    code: str = ""
    name: str = ""


class Services:
    """Answers requests.

    Args:
        cloud: The account.
        access: Who may do what.
        faults: What is to go wrong.
    """

    def __init__(self, cloud: Cloud, access: Access, faults: Faults) -> None:
        self.cloud, self.access, self.faults = cloud, access, faults
        self.moto = MotoApp(cloud)
        self.calls: deque[Call] = deque(maxlen=CALLS_MAX)
        self.failures: list[str] = []
        """Faults of the emulator itself, which it told as HTTP 500."""
        self._of_path = [threading.Lock() for _ in range(PATH_LOCKS)]
        self._operations = all_operations()

    def answer(self, request: Request) -> Answer:
        """Answer one request; called from any thread."""
        request_id = str(uuid.uuid4())
        rest = self._rest_operation(request)
        operation = rest[1].name if rest else request.action
        call = Call(request.service, operation, {}, name=request.operation or operation)
        self.calls.append(call)
        try:
            answer = self._answer(request, call, rest, request_id)
        except Refused as refused:
            answer = errors.told(request, refused, request_id, is_rest=rest is not None)
            call.code = refused.code
        except Exception as error:  # told to the client as AWS would, and kept for whoever tests
            self.failures.append(traceback.format_exc())
            failure = Refused("InternalFailure", f"{type(error).__name__}: {error}", 500)
            answer = errors.told(request, failure, request_id, is_rest=rest is not None)
            call.code = failure.code
        call.status = answer.status
        return answer

    def _rest_operation(self, request: Request) -> tuple[str, Any] | None:
        """Return the service and the operation of a request to metrics or runtime."""
        if request.service != "sagemaker" or request.headers.get("X-Amz-Target"):
            return None
        for service in _REST_SERVICES:
            operation = protocol.find_route(service, request.method, request.path)
            if operation is not None:
                return service, operation
        return None

    def _answer(self, request: Request, call: Call, rest: tuple[str, Any] | None, request_id: str) -> Answer:
        if request.service == "sts" and call.operation in TokenService.OPERATIONS:
            return self._of_tokens(request, call)
        # Faults first: a service that is overloaded asks nobody who he is.
        self.faults.check(call.operation)
        self.cloud.caller = self.access.caller_of(request)
        call.caller = self.cloud.caller
        self.access.check(request, call.operation)
        if rest is not None:
            answer = self._of_rest(request, call, *rest, request_id)
        elif request.service == "sagemaker":
            answer = self._of_sagemaker(request, call, request_id)
        elif request.service == "servicequotas":
            answer = self._of_quotas(request, call, request_id)
        elif request.service == "application-autoscaling":
            answer = self._of_autoscaling(request, call, request_id)
        else:
            answer = self._of_moto(request)
        self.faults.check(call.operation, is_after=True)
        return answer

    def _of_sagemaker(self, request: Request, call: Call, request_id: str) -> Answer:
        model, operation = _operation_model("sagemaker", call.operation)
        function = self._operations["sagemaker"].get(call.operation)
        if model is None or (function is None and not self.moto.has_sagemaker(call.operation)):
            known = "" if model is None else f"The emulator does not have {call.operation}"
            raise Refused("UnknownOperationException", known)
        call.params = protocol.read_json(operation.input_shape, request.body)
        limits.check(operation.input_shape, call.params)
        if function is None:
            return self.moto.answer(request)
        answer = self._called(function, call.params)
        return protocol.write_json(operation.output_shape, answer, request_id)

    def _of_rest(self, request: Request, call: Call, service: str, operation: Any, request_id: str) -> Answer:
        call.service = service
        function = self._operations[service].get(operation.name)
        if function is None:
            message = f"The emulator does not have {operation.name}"
            raise Refused("UnknownOperationException", message, 404)
        call.params = protocol.read_rest(operation, request.path, request.headers, request.body)
        is_runtime = service == "sagemaker-runtime"
        code = "ValidationError" if is_runtime else "ValidationException"
        limits.check(operation.input_shape, call.params, code=code)
        answer = function(self.cloud, call.params) if is_runtime else self._called(function, call.params)
        return protocol.write_rest(operation, answer, request_id)

    def _of_autoscaling(self, request: Request, call: Call, request_id: str) -> Answer:
        model, operation = _operation_model("application-autoscaling", call.operation)
        if model is None:
            raise Refused("UnknownOperationException", "")
        call.params = protocol.read_json(operation.input_shape, request.body)
        check = self._operations["application-autoscaling checks"].get(call.operation)
        if check is not None:
            self._called(check, call.params)
        function = self._operations["application-autoscaling"].get(call.operation)
        if function is None:
            return self._of_moto(request)
        return protocol.write_json(operation.output_shape, self._called(function, call.params), request_id)

    def _of_quotas(self, request: Request, call: Call, request_id: str) -> Answer:
        model, operation = _operation_model("service-quotas", call.operation)
        function = self._operations["service-quotas"].get(call.operation)
        if model is None or function is None:
            known = "" if model is None else f"The emulator does not have {call.operation}"
            raise Refused("UnknownOperationException", known)
        call.params = protocol.read_json(operation.input_shape, request.body)
        limits.check(operation.input_shape, call.params)
        return protocol.write_json(operation.output_shape, self._called(function, call.params), request_id)

    def _of_moto(self, request: Request) -> Answer:
        if request.service != "s3":
            return self.moto.answer(request)
        storage_rules.check(self.cloud, request)
        # One at a time for an object: a condition must hold until the write is done, and moto closes the
        # buffer of what is overwritten under whoever still reads it.
        with self._of_path[hash(request.path) % len(self._of_path)]:
            for tries_left in reversed(range(READS_MAX if request.method in ("GET", "HEAD") else 1)):
                try:
                    return self.moto.answer(request)
                except ValueError:  # it meets an object that is being overwritten: moto closes its file
                    if not tries_left:
                        raise
        raise AssertionError("not reached")

    def _of_tokens(self, request: Request, call: Call) -> Answer:
        if not self.access.check_signatures:
            return self.moto.answer(request)
        self.faults.check(call.operation)
        result = self.access.roles.answer(request.method, request.target, request.headers, request.body)
        found = _CODE.search(result.body) if result.status >= 400 else None
        call.code = found[1].decode() if found else ""
        return Answer(result.status, result.headers, result.body)

    def _called(self, function: Operation, params: dict[str, Any]) -> dict[str, Any]:
        with self.cloud.lock:
            # A copy: what is kept of a request must not change with what is remembered of it.
            return function(self.cloud, deepcopy(params)) or {}


class Server:
    """Listens on this machine alone.

    Args:
        services: Answers.
        port: 0 for a free one.
    """

    def __init__(self, services: Services, port: int = 0) -> None:
        def answer(arrived: Arrived) -> Sent:
            return Sent(*services.answer(Request(*arrived[:4])))

        self._listener = Listener(answer, port=port, now_s=services.cloud.signing_now_s)
        self.url = self._listener.url

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()


def _operation_model(service: str, name: str) -> tuple[Any, Any]:
    model = protocol.service_model(service)
    if name not in model.operation_names:
        return None, None
    return model, model.operation_model(name)
