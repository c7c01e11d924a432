package main

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "myxi/chat/myxiv1"
)

// caught stands in the gateway's place.
type caught struct{ pushed []*pb.PushEventRequest }

func (c *caught) PushEvent(_ context.Context, request *pb.PushEventRequest, _ ...grpc.CallOption) (*pb.PushEventResponse, error) {
	c.pushed = append(c.pushed, request)
	return &pb.PushEventResponse{}, nil
}

func sessionOf(user string, data map[string]string) *pb.Session {
	auth := toJSON(map[string]string{"user": user})
	return &pb.Session{Auth: &auth, Data: data}
}

func TestATokenIsWorthAUser(t *testing.T) {
	for token, user := range map[string]string{"adam-secret": `{"user":"adam"}`, "x": ""} {
		request := &pb.HandleActionRequest{Action: "Authenticate", Payload: toJSON(map[string]string{"token": token})}
		answer, err := chat{}.HandleAction(t.Context(), request)
		if err != nil || answer.SessionUpdate.GetSetAuth() != user {
			t.Errorf("%s: %v, %v", token, answer, err)
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
	if err != nil || answer.SessionUpdate.SetData["said"] != "5" {
		t.Fatal(answer, err)
	}
	if len(gateway.pushed) != 1 || gateway.pushed[0].Payload != `{"text":"hi","user":"adam"}` {
		t.Error(gateway.pushed)
	}
}

func TestEveIsNotStaff(t *testing.T) {
	eve := sessionOf("eve", nil)
	request := &pb.HandleActionRequest{Session: eve, Action: "Join", Payload: `{"room":"staff"}`}
	if _, err := (chat{}).HandleAction(t.Context(), request); status.Code(err) != codes.PermissionDenied {
		t.Error(err)
	}
	topics := []*pb.Topic{{Exchange: "rooms", RoutingKey: "lobby"}, {Exchange: "rooms", RoutingKey: "staff"}}
	answer, _ := chat{}.CheckSubscriptions(t.Context(), &pb.CheckSubscriptionsRequest{Session: eve, Topics: topics})
	if answer.Decisions[0] != pb.Decision_DECISION_ALLOW || answer.Decisions[1] != pb.Decision_DECISION_DENY {
		t.Error(answer.Decisions)
	}
}
