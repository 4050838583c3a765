"""Writes gateway/data/openapi.json from proto/; tests/unit/test_openapi.py holds it fresh.

What the document says of a message or a field is what its comment in the proto says. Run from the root:
python -m tools.make_openapi
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from tools.generate_proto import compile_proto

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "gateway/data/openapi.json"
FILE = "gateway/v1/authorization.proto"

HOOKS = {
    "/v1/calls/authorize": ("AuthorizeCall", ("AuthorizeCallRequest",), ("AuthorizeCallResponse",)),
    "/v1/calls/answer": ("AnswerCall", ("AnswerCallRequest",), ("AnswerCallResponse",)),
    "/v1/calls/tick": ("TickCall", ("TickCallRequest",), ("TickCallResponse",)),
    "/v1/calls/end": ("EndCall", ("EndCallRequest",), ("EndCallResponse",)),
    "/v1/messages/authorize": ("AuthorizeMessage", ("AuthorizeMessageRequest",), ("AuthorizeMessageResponse",)),
    "/v1/messages/refund": ("RefundMessage", ("RefundMessageRequest",), ("RefundMessageResponse",)),
    "/v1/quote": (
        "QuoteCall",
        ("QuoteCallRequest", "QuoteMessageRequest"),
        ("QuoteCallResponse", "QuoteMessageResponse"),
    ),
}
QUOTE = "Says what an authorization would decide now and what it would cost; changes nothing. "
QUOTE += "With messageId, kind or segments it is a message that is asked about, else a call."

ERRORS = {
    "400": "INVALID_ARGUMENT: the field that is wrong and what it may be. FAILED_PRECONDITION: the state forbids it.",
    "401": "UNAUTHENTICATED: no token that is in force.",
    "403": "PERMISSION_DENIED: the office or the call is not this switch's.",
    "404": "NOT_FOUND: the call or message is unknown.",
    "409": "ALREADY_EXISTS: the id has another request.",
    "413": "The body has more than 65,536 bytes.",
    "429": "RESOURCE_EXHAUSTED: too much is in flight; retry with the same id after a moment.",
    "503": "UNAVAILABLE: the store did not answer; retry with the same id.",
}
INTEGERS = {FieldDescriptorProto.TYPE_INT32: "int32"}
TEXTS = {FieldDescriptorProto.TYPE_INT64: "int64"}


class Contract:
    """The messages and enums of the contract, with their comments."""

    def __init__(self) -> None:
        self._file = _compiled()
        self._comments = {
            tuple(location.path): " ".join(location.leading_comments.split())
            for location in self._file.source_code_info.location
            if location.leading_comments
        }
        trailing = {
            tuple(location.path): " ".join(location.trailing_comments.split())
            for location in self._file.source_code_info.location
            if location.trailing_comments
        }
        self._comments = trailing | self._comments
        self.schemas: dict[str, Any] = {}

    def rpc(self, name: str) -> str:
        """What the contract says of an rpc."""
        for number, method in enumerate(self._file.service[0].method):
            if method.name == name:
                return self._comments[6, 0, 2, number]
        raise LookupError(name)

    def reference(self, name: str, *, is_request: bool) -> dict[str, str]:
        """A reference to the schema of a message, which is made with all that it needs."""
        if name not in self.schemas:
            number, message = next(
                (number, each) for number, each in enumerate(self._file.message_type) if each.name == name
            )
            self.schemas[name] = {}
            self.schemas[name] = self._message(number, message, is_request=is_request)
        return {"$ref": f"#/components/schemas/{name}"}

    def _message(self, number: int, message: DescriptorProto, *, is_request: bool) -> dict[str, Any]:
        properties, required = {}, []
        for index, field in enumerate(message.field):
            comment = self._comments.get((4, number, 2, index), "")
            properties[field.json_name] = self._field(field, comment, is_request=is_request)
            if not is_request or "required" in comment.lower():
                required.append(field.json_name)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if comment := self._comments.get((4, number)):
            schema["description"] = comment
        if is_request:
            schema["additionalProperties"] = False
            schema["required"] = required
        return schema

    def _field(self, field: FieldDescriptorProto, comment: str, *, is_request: bool) -> dict[str, Any]:
        schema = self._kind(field, is_request=is_request)
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            schema = {"type": "array", "items": schema}
        return schema | ({"description": comment} if comment else {})

    def _kind(self, field: FieldDescriptorProto, *, is_request: bool) -> dict[str, Any]:
        if field.type in INTEGERS:
            return {"type": "integer", "format": INTEGERS[field.type]}
        if field.type in TEXTS:
            # JSON of 64-bit integers is a string; a request may send a number.
            return {"type": ["string", "integer"] if is_request else "string", "format": TEXTS[field.type]}
        if field.type == FieldDescriptorProto.TYPE_BOOL:
            return {"type": "boolean"}
        if field.type == FieldDescriptorProto.TYPE_STRING:
            return {"type": "string"}
        name = field.type_name.rpartition(".")[2]
        if name == "Timestamp":
            return {"type": "string", "format": "date-time"}
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return self._enum(name)
        return dict(self.reference(name, is_request=is_request))

    def _enum(self, name: str) -> dict[str, str]:
        if name not in self.schemas:
            number, enum = next((number, each) for number, each in enumerate(self._file.enum_type) if each.name == name)
            said = [
                f"{value.name}: {self._comments[5, number, 2, index]}"
                for index, value in enumerate(enum.value)
                if (5, number, 2, index) in self._comments
            ]
            self.schemas[name] = {
                "type": "string",
                "enum": [value.name for value in enum.value],
                "description": ". ".join(
                    part for part in (self._comments.get((5, number), ""), "; ".join(said)) if part
                ),
            }
        return {"$ref": f"#/components/schemas/{name}"}


def render() -> str:
    """The document."""
    contract = Contract()
    paths = {path: {"post": _operation(contract, path)} for path in HOOKS}
    webhooks = dict(_webhooks(contract))
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate hooks",
            "version": "1",
            "description": "CallAuthorization for switches that speak HTTP: the same requests and answers as over "
            "gRPC, in proto JSON. Names may be written as here or as in the proto (officeId, office_id). A no is an "
            "answer with status 200; an error means that nothing could be answered.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "webhooks": webhooks,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A switch's token."}},
            "schemas": dict(sorted(contract.schemas.items())) | {"Error": _error()},
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _operation(contract: Contract, path: str) -> dict[str, Any]:
    name, requests, responses = HOOKS[path]
    errors = {
        status: {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}
        for status, text in ERRORS.items()
    }
    return {
        "operationId": "Quote" if len(requests) > 1 else name,
        "summary": name if len(requests) == 1 else "QuoteCall, QuoteMessage",
        "description": QUOTE if len(requests) > 1 else contract.rpc(name),
        "requestBody": {
            "required": True,
            "content": _json(_any([contract.reference(each, is_request=True) for each in requests])),
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": _json(_any([contract.reference(each, is_request=False) for each in responses])),
            },
            **errors,
        },
    }


def _webhooks(contract: Contract) -> Iterator[tuple[str, Any]]:
    signed = "Signed in the header Tollgate-Signature. Any 2xx is a yes; else it is posted again."
    command = {
        "type": "object",
        "required": ["command"],
        "properties": {"command": contract.reference("Command", is_request=False)},
    }
    yield (
        "command",
        {
            "post": {
                "operationId": "command",
                "summary": "What a switch with a callback is told",
                "description": f"The newest of a call, again until it is answered; a cut until EndCall. {signed}",
                "security": [],
                "requestBody": {"required": True, "content": _json(command)},
                "responses": {"200": {"description": "Taken."}},
            }
        },
    )
    asked = {"type": "object", "required": ["listCalls"], "properties": {"listCalls": {"type": "object"}}}
    yield (
        "listCalls",
        {
            "post": {
                "operationId": "listCalls",
                "summary": "A switch with a callback is asked which calls it has",
                "description": f"Every 30 s; a call that is missing in two lists lapses. {signed}",
                "security": [],
                "requestBody": {"required": True, "content": _json(asked)},
                "responses": {
                    "200": {
                        "description": "All live calls, the ringing ones with 0 used seconds.",
                        "content": _json(contract.reference("LiveCalls", is_request=True)),
                    }
                },
            }
        },
    )


def _any(schemas: list[dict[str, str]]) -> dict[str, Any]:
    return {"anyOf": schemas} if len(schemas) > 1 else dict(schemas[0])


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error() -> dict[str, Any]:
    texts = {
        "reason": "Stable, for programs: UPPER_SNAKE.",
        "message": "What is wrong and what cures it, for people.",
        "field": "The field that is wrong, as the proto names it; absent where it is about none.",
    }
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    error = {"type": "object", "properties": properties, "required": ["reason", "message"]}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _compiled() -> FileDescriptorProto:
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "descriptors"
        compile_proto(["--include_source_info", f"--descriptor_set_out={target}", FILE])
        return FileDescriptorSet.FromString(target.read_bytes()).file[0]


if __name__ == "__main__":
    TARGET.write_text(render())
