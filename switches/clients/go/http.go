package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// overHTTP carries the generated stubs over the HTTP hooks, where gRPC does not get through.
type overHTTP struct{ url, token string }

var client = http.Client{Timeout: time.Second}

var statusCodes = map[int]codes.Code{400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied,
	404: codes.NotFound, 409: codes.AlreadyExists, 429: codes.ResourceExhausted, 503: codes.Unavailable}

// Invoke makes POST /v1/calls/authorize of /gateway.v1.CallAuthorization/AuthorizeCall; the body is proto JSON.
func (conn overHTTP) Invoke(ctx context.Context, method string, request, response any, _ ...grpc.CallOption) error {
	operation := strings.ToLower(strings.TrimSuffix(method[strings.LastIndex(method, "/")+1:], "Call"))
	body, err := protojson.Marshal(request.(proto.Message))
	for attempt := range 4 { // The id in the request makes asking again safe.
		if err != nil || ctx.Err() != nil {
			break
		}
		var again bool
		again, err = conn.post(ctx, conn.url+"/v1/calls/"+operation, body, response.(proto.Message))
		if !again {
			return err
		}
		time.Sleep(50 * time.Millisecond << attempt)
	}
	return err
}

func (conn overHTTP) post(ctx context.Context, url string, body []byte, response proto.Message) (again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+conn.token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return true, status.Error(codes.Unavailable, err.Error())
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return true, status.Error(codes.Unavailable, err.Error())
	}
	if answer.StatusCode == http.StatusOK {
		return false, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, response)
	}
	var fault struct {
		Error struct{ Reason, Message, Field string }
	}
	_ = json.Unmarshal(text, &fault) // From something between us and the gateway it may be no JSON.
	told, err := status.New(statusCodes[answer.StatusCode], fault.Error.Message).WithDetails(
		&errdetails.ErrorInfo{Reason: fault.Error.Reason, Metadata: map[string]string{"field": fault.Error.Field}})
	if err != nil {
		return false, err
	}
	return answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500, told.Err()
}

// NewStream is for the Session, which the hooks do not have.
func (overHTTP) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no streams over HTTP")
}
