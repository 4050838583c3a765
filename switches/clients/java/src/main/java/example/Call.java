package example;

import com.google.gson.Gson;
import gateway.v1.Authorization.AnswerCallRequest;
import gateway.v1.Authorization.AnswerCallResponse;
import gateway.v1.Authorization.AuthorizeCallRequest;
import gateway.v1.Authorization.AuthorizeCallResponse;
import gateway.v1.Authorization.Decision;
import gateway.v1.Authorization.Direction;
import gateway.v1.Authorization.EndCallRequest;
import gateway.v1.Authorization.EndCallResponse;
import gateway.v1.Authorization.TickCallRequest;
import gateway.v1.Authorization.TickCallResponse;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One call through Tollgate: java ... example.Call grpc|http OFFICE CALLED SECONDS
 *
 * <p>TOLLGATE_LISTEN (gRPC) or TOLLGATE_URL (HTTP) says where, TOLLGATE_TOKEN as whom. Prints a line of JSON a step.
 */
public final class Call {
    private Call() {}

    /** A switch's own work is left out: ringing, talking, and hanging up when granted seconds are over. */
    static void place(Transport gateway, String office, String called, int seconds) throws Exception {
        String callId = "java-" + ProcessHandle.current().pid() + "-" + called;

        var decided = gateway.ask("authorize", AuthorizeCallRequest.newBuilder()
                .setOfficeId(office).setCallId(callId).setDirection(Direction.OUTBOUND).setCalledNumber(called).build(),
                AuthorizeCallResponse.getDefaultInstance());
        say("authorize", "call_id", callId, "decision", decided.getDecision().name(),
                "reason", decided.getReason().name(), "granted_seconds", decided.getGrantedSeconds());
        if (decided.getDecision() != Decision.GRANTED) {
            return; // Do not connect. A denial is not kept, so there is nothing to end.
        }
        var answered = gateway.ask("answer",
                AnswerCallRequest.newBuilder().setOfficeId(office).setCallId(callId).build(),
                AnswerCallResponse.getDefaultInstance());
        say("answer", "granted_seconds", answered.getGrantedSeconds(), "debited_micros", answered.getDebitedMicros());

        // 10 s before granted seconds are over.
        var ticked = gateway.ask("tick", TickCallRequest.newBuilder().setOfficeId(office).setCallId(callId)
                .setUsedSeconds(Math.max(decided.getGrantedSeconds() - 10, 0)).build(),
                TickCallResponse.getDefaultInstance());
        say("tick", "granted_seconds", ticked.getGrantedSeconds(), "debited_micros", ticked.getDebitedMicros());

        var ended = gateway.ask("end", EndCallRequest.newBuilder().setOfficeId(office).setCallId(callId)
                .setDurationSeconds(seconds).setCause("NORMAL_CLEARING").build(), EndCallResponse.getDefaultInstance());
        say("end", "billed_seconds", ended.getBilledSeconds(), "debited_micros", ended.getDebitedMicros());
    }

    static void say(String step, Object... pairs) {
        var line = new LinkedHashMap<String, Object>(Map.of("step", step));
        for (int n = 0; n < pairs.length; n += 2) {
            line.put((String) pairs[n], pairs[n + 1]);
        }
        System.out.println(new Gson().toJson(line));
    }

    public static void main(String[] arguments) throws Exception {
        String token = System.getenv("TOLLGATE_TOKEN");
        try (Transport gateway = arguments[0].equals("http")
                ? new OverHttp(System.getenv("TOLLGATE_URL"), token)
                : new OverGrpc(System.getenv("TOLLGATE_LISTEN"), token)) {
            place(gateway, arguments[1], arguments[2], Integer.parseInt(arguments[3]));
        } catch (Fault fault) {
            say("error", "code", fault.code, "reason", fault.reason, "field", fault.field);
            System.exit(1);
        }
    }
}
