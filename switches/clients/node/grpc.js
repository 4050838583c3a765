// gRPC with stubs made from proto/ as the program starts.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

// GOOGLEAPIS has google/rpc/*.proto, which the contract imports: a checkout of github.com/googleapis/googleapis.
const { GOOGLEAPIS, TOLLGATE_LISTEN, TOLLGATE_TOKEN } = process.env;

// TOLLGATE_PROTO where the files were copied to.
const PROTO = process.env.TOLLGATE_PROTO ?? fileURLToPath(new URL('../../../proto', import.meta.url));
const FILES = ['gateway/v1/authorization.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'];
const OPTIONS = { includeDirs: [PROTO, GOOGLEAPIS ?? '.'], longs: String, enums: String, defaults: true };
const definitions = loader.loadSync(FILES, OPTIONS);
const { CallAuthorization } = grpc.loadPackageDefinition(definitions).gateway.v1;

// Every request has the caller's own id, so asking again is safe; "timeout" is for all attempts.
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{ service: 'gateway.v1.CallAuthorization' }],
      timeout: { seconds: 2, nanos: 0 },
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: '0.05s',
        maxBackoff: '0.5s',
        backoffMultiplier: 2,
        retryableStatusCodes: ['UNAVAILABLE', 'RESOURCE_EXHAUSTED'],
      },
    },
  ],
};

// What the gateway says of a fault is in the trailer: a google.rpc.Status with a google.rpc.ErrorInfo.
function explained(error) {
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = packed ? definitions['google.rpc.Status'].deserialize(packed).details : [];
  const info = details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
  if (!info) return error;
  const { reason, metadata } = definitions['google.rpc.ErrorInfo'].deserialize(info.value);
  return Object.assign(error, { reason, field: metadata.field });
}

export function overGrpc() {
  // In the clear, for a gateway on this machine; elsewhere grpc.credentials.createSsl().
  const client = new CallAuthorization(TOLLGATE_LISTEN, grpc.credentials.createInsecure(), {
    'grpc.service_config': JSON.stringify(SERVICE_CONFIG),
  });
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${TOLLGATE_TOKEN}`);
  return (operation, request) =>
    new Promise((resolve, reject) => {
      client[`${operation}Call`](request, metadata, (error, answer) =>
        error ? reject(explained(error)) : resolve(answer),
      );
    });
}
