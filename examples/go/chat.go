package main

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "myxi/chat/myxiv1"
)

const mostDice = 1_000_000

var users = map[string]string{"adam-secret": "adam", "eve-secret": "eve"}

// pusher is what the chat uses of the gateway.
type pusher interface {
	PushEvent(context.Context, *pb.PushEventRequest, ...grpc.CallOption) (*pb.PushEventResponse, error)
}

// chat answers what myxi asks about every client. It keeps nothing of them itself.
type chat struct {
	pb.UnimplementedActionHandlerServer
	gateway pusher
}

func (c chat) HandleAction(ctx context.Context, r *pb.HandleActionRequest) (*pb.HandleActionResponse, error) {
	var payload any
	if err := json.Unmarshal([]byte(r.Payload), &payload); err != nil {
		return nil, err
	}
	fields, _ := payload.(map[string]any)
	user, known := userOf(r.Session)
	switch {
	case r.Action == "Authenticate":
		return authenticate(fields)
	case !known:
		return nil, status.Error(codes.Unauthenticated, "who are you?")
	case r.Action == "Join":
		return join(user, fields)
	case r.Action == "Say":
		return c.say(ctx, user, r.Session, fields)
	case r.Action == "Roll":
		return roll(fields)
	}
	return nil, status.Error(codes.Unimplemented, "no such action")
}

func (c chat) CheckSubscriptions(_ context.Context, r *pb.CheckSubscriptionsRequest) (*pb.CheckSubscriptionsResponse, error) {
	user, known := userOf(r.Session)
	decisions := make([]pb.Decision, len(r.Topics))
	for i, topic := range r.Topics {
		switch {
		case topic.Exchange != "rooms":
			decisions[i] = pb.Decision_DECISION_UNKNOWN_EXCHANGE
		case known && mayEnter(user, topic.RoutingKey):
			decisions[i] = pb.Decision_DECISION_ALLOW
		default:
			decisions[i] = pb.Decision_DECISION_DENY
		}
	}
	return &pb.CheckSubscriptionsResponse{Decisions: decisions}, nil
}

func (c chat) SessionOpened(_ context.Context, r *pb.SessionOpenedRequest) (*pb.SessionOpenedResponse, error) {
	if r.Session.GetQuery() == "version=0" {
		return &pb.SessionOpenedResponse{
			Decision: pb.SessionDecision_SESSION_DECISION_REFUSE,
			Refusal:  &pb.Disconnect{Code: 4500, Reason: "this version is too old"},
		}, nil
	}
	greeting := events("Greeting", toJSON(map[string]string{"text": "Who are you?"}))
	return &pb.SessionOpenedResponse{Decision: pb.SessionDecision_SESSION_DECISION_ACCEPT, Events: greeting}, nil
}

func (c chat) SessionClosed(ctx context.Context, r *pb.SessionClosedRequest) (*pb.SessionClosedResponse, error) {
	var room string
	if json.Unmarshal([]byte(r.Session.GetData()["room"]), &room) == nil {
		user, _ := userOf(r.Session)
		if err := c.push(ctx, room, "Left", map[string]string{"user": user}); err != nil {
			return nil, err
		}
	}
	return &pb.SessionClosedResponse{}, nil
}
