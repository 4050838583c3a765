// One call through Tollgate: go run . grpc|http OFFICE CALLED SECONDS
//
// TOLLGATE_LISTEN (gRPC) or TOLLGATE_URL (HTTP) says where, TOLLGATE_TOKEN as whom. Prints a line of JSON a step.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example.com/tollgate-client/gatewayv1"
)

// Every request has the caller's own id, so asking again is safe; "timeout" is for all attempts.
const serviceConfig = `{"methodConfig": [{"name": [{"service": "gateway.v1.CallAuthorization"}], "timeout": "2s",
	"retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2,
	"retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]}`

func connect(transport string) (grpc.ClientConnInterface, error) {
	if transport == "http" {
		return overHTTP{os.Getenv("TOLLGATE_URL"), os.Getenv("TOLLGATE_TOKEN")}, nil
	}
	// In the clear, for a gateway on this machine; elsewhere credentials.NewTLS.
	return grpc.NewClient(os.Getenv("TOLLGATE_LISTEN"), grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func call(conn grpc.ClientConnInterface, office, called string, seconds int32) error {
	client, callID := pb.NewCallAuthorizationClient(conn), fmt.Sprintf("go-%d-%s", os.Getpid(), called)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("TOLLGATE_TOKEN"))

	decided, err := client.AuthorizeCall(ctx, &pb.AuthorizeCallRequest{
		OfficeId: office, CallId: callID, Direction: pb.Direction_OUTBOUND, CalledNumber: called})
	if err != nil {
		return err
	}
	say("authorize", "call_id", callID, "decision", decided.Decision.String(), "reason", decided.Reason.String(),
		"granted_seconds", decided.GrantedSeconds)
	if decided.Decision != pb.Decision_GRANTED {
		return nil // Do not connect. A denial is not kept, so there is nothing to end.
	}
	answered, err := client.AnswerCall(ctx, &pb.AnswerCallRequest{OfficeId: office, CallId: callID})
	if err != nil {
		return err
	}
	say("answer", "granted_seconds", answered.GrantedSeconds, "debited_micros", answered.DebitedMicros)

	// A switch does this 10 s before granted_seconds are over, and hangs up at their end if no more are granted.
	ticked, err := client.TickCall(ctx, &pb.TickCallRequest{
		OfficeId: office, CallId: callID, UsedSeconds: max(decided.GrantedSeconds-10, 0)})
	if err != nil {
		return err
	}
	say("tick", "granted_seconds", ticked.GrantedSeconds, "debited_micros", ticked.DebitedMicros)

	ended, err := client.EndCall(ctx, &pb.EndCallRequest{
		OfficeId: office, CallId: callID, DurationSeconds: seconds, Cause: "NORMAL_CLEARING"})
	if err == nil {
		say("end", "billed_seconds", ended.BilledSeconds, "debited_micros", ended.DebitedMicros)
	}
	return err
}

// fault says what the gateway said: a stable reason, and the field if one is wrong.
func fault(err error) {
	told := status.Convert(err)
	for _, detail := range told.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			say("error", "code", told.Code().String(), "reason", info.Reason, "field", info.Metadata["field"])
			return
		}
	}
	say("error", "code", told.Code().String(), "reason", told.Message(), "field", "")
}

func say(step string, pairs ...any) {
	line := map[string]any{"step": step}
	for n := 0; n < len(pairs); n += 2 {
		line[pairs[n].(string)] = pairs[n+1]
	}
	text, _ := json.Marshal(line)
	fmt.Println(string(text))
}

func main() {
	conn, err := connect(os.Args[1])
	seconds, wrong := strconv.Atoi(os.Args[4])
	if err != nil || wrong != nil {
		err = status.Error(codes.InvalidArgument, fmt.Sprint(err, wrong))
	} else {
		err = call(conn, os.Args[2], os.Args[3], int32(seconds))
	}
	if err != nil {
		fault(err)
		os.Exit(1)
	}
}
