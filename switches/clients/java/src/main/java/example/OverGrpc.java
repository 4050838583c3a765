package example;

import com.google.protobuf.Message;
import com.google.rpc.ErrorInfo;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** gRPC with generated messages; protoc-gen-grpc-java would generate the method's descriptor too. */
final class OverGrpc implements Transport {
    private static final Map<String, Object> SERVICE_CONFIG = Map.of("methodConfig", List.of(Map.of(
            "name", List.of(Map.of("service", "gateway.v1.CallAuthorization")),
            "retryPolicy", Map.of("maxAttempts", 5.0, "initialBackoff", "0.05s", "maxBackoff", "0.5s",
                    "backoffMultiplier", 2.0, "retryableStatusCodes", List.of("UNAVAILABLE", "RESOURCE_EXHAUSTED")))));

    private final ManagedChannel connection;
    private final Channel channel;

    OverGrpc(String target, String token) {
        // In the clear, for a gateway on this machine; elsewhere without usePlaintext().
        connection = ManagedChannelBuilder.forTarget(target).usePlaintext()
                .defaultServiceConfig(SERVICE_CONFIG).enableRetry().build();
        var headers = new Metadata();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
        channel = ClientInterceptors.intercept(connection, MetadataUtils.newAttachHeadersInterceptor(headers));
        connect();
    }

    /** The first connection of a JVM takes a second or two: have it before there is a call that waits for it. */
    private void connect() {
        var tried = new CountDownLatch(1);
        var state = connection.getState(true);
        connection.notifyWhenStateChanged(state, () -> connection.notifyWhenStateChanged(
                ConnectivityState.CONNECTING, tried::countDown));
        try {
            tried.await(10, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public <A extends Message> A ask(String operation, Message request, A empty) throws Fault {
        String name = operation.substring(0, 1).toUpperCase() + operation.substring(1) + "Call";
        var method = MethodDescriptor.newBuilder(
                        ProtoUtils.marshaller(request.getDefaultInstanceForType()), ProtoUtils.marshaller(empty))
                .setType(MethodDescriptor.MethodType.UNARY)
                .setFullMethodName(MethodDescriptor.generateFullMethodName("gateway.v1.CallAuthorization", name))
                .build();
        try {
            // For all attempts together.
            var options = CallOptions.DEFAULT.withDeadlineAfter(2, TimeUnit.SECONDS);
            return ClientCalls.blockingUnaryCall(channel, method, options, request);
        } catch (StatusRuntimeException fault) {
            throw explained(fault);
        }
    }

    private static Fault explained(StatusRuntimeException fault) {
        String code = fault.getStatus().getCode().name();
        var told = StatusProto.fromThrowable(fault);
        try {
            for (var detail : told == null ? List.<com.google.protobuf.Any>of() : told.getDetailsList()) {
                if (detail.is(ErrorInfo.class)) {
                    var info = detail.unpack(ErrorInfo.class);
                    return new Fault(code, info.getReason(), info.getMetadataOrDefault("field", ""));
                }
            }
        } catch (com.google.protobuf.InvalidProtocolBufferException unreadable) {
            // Then the status has to do.
        }
        return new Fault(code, String.valueOf(fault.getStatus().getDescription()), "");
    }

    @Override
    public void close() {
        connection.shutdownNow();
    }
}
