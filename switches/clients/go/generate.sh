#!/bin/sh
# Generates gatewayv1/ from proto/: needs protoc (Debian: protobuf-compiler; PROTOC= names another), go, and GOOGLEAPIS,
# the directory with google/rpc/status.proto, which the contract imports.
set -eu
cd "$(dirname "$0")"
: "${GOOGLEAPIS:?set it to a checkout of github.com/googleapis/googleapis}"
plugins=${PLUGINS:-$PWD/bin}
GOBIN=$plugins go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$plugins go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
# The files name no Go package: which one they become is this module's affair.
package=Mgateway/v1/authorization.proto=example.com/tollgate-client/gatewayv1
# shellcheck disable=SC2086  # PROTOC may have arguments
PATH=$plugins:$PATH ${PROTOC:-protoc} -I ../../../proto -I "$GOOGLEAPIS" \
  --go_out=. --go_opt=module=example.com/tollgate-client --go_opt=$package \
  --go-grpc_out=. --go-grpc_opt=module=example.com/tollgate-client --go-grpc_opt=$package \
  gateway/v1/authorization.proto
