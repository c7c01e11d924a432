package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "myxi/chat/myxiv1"
)

// caught stands in the gateway's place.
type caught struct {
	pb.GatewayClient
	pushed []*pb.PushEventRequest
}

func (c *caught) PushEvent(_ context.Context, request *pb.PushEventRequest, _ ...grpc.CallOption) (*pb.PushEventResponse, error) {
	c.pushed = append(c.pushed, request)
	return &pb.PushEventResponse{}, nil
}

func (c *caught) wants(t *testing.T, event, payload string) {
	t.Helper()
	want := &pb.PushEventRequest{Exchange: "rooms", RoutingKey: "lobby", Event: event, Payload: payload}
	if len(c.pushed) != 1 || !proto.Equal(c.pushed[0], want) {
		t.Errorf("pushed %v, want %v", c.pushed, want)
	}
}

func sessionOf(user string, data map[string]string) *pb.Session {
	auth := toJSON(map[string]string{"user": user})
	return &pb.Session{Auth: &auth, Data: data}
}

func TestATokenIsWorthAUser(t *testing.T) {
	for token, want := range map[string]string{"adam-secret": `{"user":"adam"}`, "x": ""} {
		request := &pb.HandleActionRequest{Action: "Authenticate", Payload: toJSON(object{"token": token})}
		answer, err := chat{}.HandleAction(t.Context(), request)
		if got := answer.GetSessionUpdate().GetSetAuth(); err != nil || got != want {
			t.Errorf("auth by %q = %q, %v; want %q", token, got, err, want)
		}
	}
}

func TestWhatIsSaidIsPushedAndCounted(t *testing.T) {
	gateway := &caught{}
	request := &pb.HandleActionRequest{
		Session: sessionOf("adam", map[string]string{"said": "4"}),
		Action:  "Say",
		Payload: `{"room":"lobby","text":"hi"}`,
	}
	answer, err := chat{gateway: gateway}.HandleAction(t.Context(), request)
	if got := answer.GetSessionUpdate().GetSetData()["said"]; err != nil || got != "5" {
		t.Errorf("said = %q, %v; want 5", got, err)
	}
	gateway.wants(t, "Said", `{"text":"hi","user":"adam"}`)
}

func TestWhoLeavesIsMissed(t *testing.T) {
	gateway := &caught{}
	adam := sessionOf("adam", map[string]string{"room": `"lobby"`})
	if _, err := (chat{gateway: gateway}).SessionClosed(t.Context(), &pb.SessionClosedRequest{Session: adam}); err != nil {
		t.Error(err)
	}
	gateway.wants(t, "Left", `{"user":"adam"}`)
}

func TestEveIsNotStaff(t *testing.T) {
	eve := sessionOf("eve", nil)
	for room, want := range map[string]codes.Code{"staff": codes.PermissionDenied, strings.Repeat("x", 256): codes.InvalidArgument} {
		request := &pb.HandleActionRequest{Session: eve, Action: "Join", Payload: toJSON(object{"room": room})}
		if _, err := (chat{}).HandleAction(t.Context(), request); status.Code(err) != want {
			t.Errorf("joining %q: %v, want %v", room, err, want)
		}
	}
	topics := []*pb.Topic{{Exchange: "rooms", RoutingKey: "lobby"}, {Exchange: "rooms", RoutingKey: "staff"}}
	answer, _ := chat{}.CheckSubscriptions(t.Context(), &pb.CheckSubscriptionsRequest{Session: eve, Topics: topics})
	want := []pb.Decision{pb.Decision_DECISION_ALLOW, pb.Decision_DECISION_DENY}
	if !slices.Equal(answer.GetDecisions(), want) {
		t.Errorf("decisions = %v, want %v", answer.GetDecisions(), want)
	}
}
