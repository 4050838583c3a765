"""Generates gateway/v1 from proto/: `python tools/generate_proto.py [DIRECTORY]`.

The directory is where `gateway/v1/` is written to; the root of the repository when none is named. Descriptor modules,
gRPC stubs, and the types of both for mypy; records.proto has no service and gets no stubs.
"""

import importlib.resources
import sys
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
MESSAGES = ("authorization", "credits", "records")
SERVICES = ("authorization", "credits")


def generate(output: Path) -> None:
    """Write all modules below a directory.

    Raises:
        SystemExit: The compiler refused a file; it has said why.
    """
    # By their paths: the environment's programs need not be on the PATH.
    programs = Path(sys.executable).parent
    plugins = [f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")]
    compile_proto([*plugins, f"--python_out={output}", f"--mypy_out=quiet:{output}", *_files(MESSAGES)])
    compile_proto([*plugins, f"--grpc_python_out={output}", f"--mypy_grpc_out=quiet:{output}", *_files(SERVICES)])


def _files(names: tuple[str, ...]) -> list[str]:
    return [f"gateway/v1/{name}.proto" for name in names]


def compile_proto(arguments: list[str]) -> None:
    """Have the compiler read files of proto/.

    Raises:
        SystemExit: It refused one; it has said why.
    """
    # google/protobuf comes with the compiler, google/rpc with googleapis-common-protos.
    well_known = importlib.resources.files(grpc_tools) / "_proto"
    common = Path(status_pb2.__file__).parents[2]
    includes = [f"-I{path}" for path in (ROOT / "proto", well_known, common)]
    code = protoc.main(["protoc", *includes, *arguments])
    if code:
        sys.exit(code)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
