package example;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.util.JsonFormat;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;

/** The HTTP hooks: the same messages as proto JSON. */
final class OverHttp implements Transport {
    private final HttpClient client = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1).connectTimeout(Duration.ofSeconds(1)).build();
    private final String url;
    private final String token;

    OverHttp(String url, String token) {
        this.url = url;
        this.token = token;
    }

    @Override
    @SuppressWarnings("unchecked")
    public <A extends Message> A ask(String operation, Message request, A empty)
            throws Fault, InterruptedException, InvalidProtocolBufferException {
        var post = HttpRequest.newBuilder(URI.create(url + "/v1/calls/" + operation)).timeout(Duration.ofSeconds(1))
                .header("Authorization", "Bearer " + token).header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(JsonFormat.printer().print(request))).build();
        for (int attempt = 1; ; attempt++) {
            Fault fault;
            try {
                HttpResponse<String> answer = client.send(post, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() == 200) {
                    var told = empty.newBuilderForType();
                    JsonFormat.parser().ignoringUnknownFields().merge(answer.body(), told);
                    return (A) told.build();
                }
                fault = explained(answer);
                if (answer.statusCode() != 429 && answer.statusCode() < 500) {
                    throw fault;
                }
            } catch (IOException broken) {
                fault = new Fault("503", "UNANSWERED", "");
            }
            if (attempt == 4) {
                throw fault;
            }
            Thread.sleep(50L << attempt);
        }
    }

    private static Fault explained(HttpResponse<String> answer) {
        var told = Struct.newBuilder();
        try {
            JsonFormat.parser().merge(answer.body(), told);
        } catch (InvalidProtocolBufferException unreadable) {
            // It comes from something between us and the gateway.
        }
        var error = told.getFieldsOrDefault("error", com.google.protobuf.Value.getDefaultInstance()).getStructValue();
        var none = com.google.protobuf.Value.getDefaultInstance();
        return new Fault(String.valueOf(answer.statusCode()), error.getFieldsOrDefault("reason", none).getStringValue(),
                error.getFieldsOrDefault("field", none).getStringValue());
    }

    @Override
    public void close() {
        // Java 17 has nothing to close here.
    }
}
