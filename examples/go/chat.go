package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "myxi/chat/myxiv1"
)

const mostDice = 1_000_000

var users = map[string]string{"adam-secret": "adam", "eve-secret": "eve"}

// object is written as JSON.
type object = map[string]any

// chat answers what myxi asks about every client. It keeps nothing of them itself.
type chat struct {
	pb.UnimplementedActionHandlerServer
	gateway pb.GatewayClient
	token   string // What the gateway wants to see.
}

// payload is what the actions have in theirs; what is missing is nil.
type payload struct {
	Token, Room, Text *string
	Dice              *int
}

func (c chat) HandleAction(ctx context.Context, r *pb.HandleActionRequest) (*pb.HandleActionResponse, error) {
	user, known := userOf(r.Session)
	if r.Action != "Authenticate" && !known {
		return nil, status.Error(codes.Unauthenticated, "who are you?")
	}
	var p payload
	malformed := json.Unmarshal([]byte(r.Payload), &p)
	wants := func(fields bool) bool { return malformed == nil && fields }
	switch r.Action {
	case "Authenticate":
		if wants(p.Token != nil) {
			return authenticate(*p.Token), nil
		}
	case "Join":
		if wants(p.Room != nil) {
			return join(user, *p.Room)
		}
	case "Say":
		if wants(p.Room != nil && p.Text != nil) {
			return c.say(ctx, user, r.Session, *p.Room, *p.Text)
		}
	case "Roll":
		if wants(p.Dice != nil && *p.Dice >= 1 && *p.Dice <= mostDice) {
			return roll(*p.Dice), nil
		}
	default:
		return nil, status.Error(codes.Unimplemented, "no such action")
	}
	return nil, status.Errorf(codes.InvalidArgument, "not a payload of %s", r.Action)
}

func authenticate(token string) *pb.HandleActionResponse {
	user, known := users[token]
	if !known {
		details := toJSON(object{"message": "nobody has this token"})
		return &pb.HandleActionResponse{Error: &pb.ActionError{Code: "InvalidToken", Details: details}}
	}
	auth := toJSON(object{"user": user})
	return &pb.HandleActionResponse{
		Events:        events("Authenticated", object{"user": user}),
		SessionUpdate: &pb.SessionUpdate{SetAuth: &auth},
	}
}

func join(user, room string) (*pb.HandleActionResponse, error) {
	if err := mayJoin(user, room); err != nil {
		return nil, err
	}
	return &pb.HandleActionResponse{
		Events:        events("Joined", object{"room": room}),
		Subscribe:     []*pb.Topic{{Exchange: "rooms", RoutingKey: room}},
		SessionUpdate: &pb.SessionUpdate{SetData: map[string]string{"room": toJSON(room)}},
	}, nil
}

func (c chat) say(ctx context.Context, user string, session *pb.Session, room, text string) (*pb.HandleActionResponse, error) {
	if err := mayJoin(user, room); err != nil {
		return nil, err
	}
	if err := c.push(ctx, room, "Said", object{"user": user, "text": text}); err != nil {
		return nil, err
	}
	number, _ := strconv.Atoi(session.GetData()["said"]) // 0 where there is none yet.
	number++
	return &pb.HandleActionResponse{
		Events:        events("Sent", object{"number": number}),
		SessionUpdate: &pb.SessionUpdate{SetData: map[string]string{"said": strconv.Itoa(number)}},
	}, nil
}

func roll(count int) *pb.HandleActionResponse {
	dice := make([]int, count)
	for i := range dice {
		dice[i] = rand.IntN(6) + 1
	}
	return &pb.HandleActionResponse{Events: events("Rolled", object{"dice": dice})}
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
	return &pb.SessionOpenedResponse{
		Decision: pb.SessionDecision_SESSION_DECISION_ACCEPT,
		Events:   events("Greeting", object{"text": "Who are you?"}),
	}, nil
}

func (c chat) SessionClosed(ctx context.Context, r *pb.SessionClosedRequest) (*pb.SessionClosedResponse, error) {
	var room string
	if json.Unmarshal([]byte(r.Session.GetData()["room"]), &room) == nil {
		user, _ := userOf(r.Session)
		if err := c.push(ctx, room, "Left", object{"user": user}); err != nil {
			return nil, err
		}
	}
	return &pb.SessionClosedResponse{}, nil
}

// push answers when the gateway has the event, within what is left of the call that it is made in.
func (c chat) push(ctx context.Context, room, event string, payload object) error {
	if c.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
	}
	request := &pb.PushEventRequest{Exchange: "rooms", RoutingKey: room, Event: event, Payload: toJSON(payload)}
	if _, err := c.gateway.PushEvent(ctx, request); err != nil {
		// Not %w: the gateway's status would be passed on as this handler's own.
		return fmt.Errorf("push to room %q: %v", room, err)
	}
	return nil
}

func userOf(session *pb.Session) (user string, known bool) {
	var auth struct{ User string }
	err := json.Unmarshal([]byte(session.GetAuth()), &auth)
	return auth.User, err == nil
}

func mayEnter(user, room string) bool {
	return room != "staff" || user == "adam"
}

func mayJoin(user, room string) error {
	switch {
	case len(room) > 255 || strings.ContainsFunc(room, unicode.IsControl):
		// What is no routing key is no room.
		return status.Error(codes.InvalidArgument, `"room" must have at most 255 bytes, and no control characters`)
	case !mayEnter(user, room):
		return status.Error(codes.PermissionDenied, "not your room")
	}
	return nil
}

func events(name string, payload object) []*pb.Event {
	return []*pb.Event{{Event: name, Payload: toJSON(payload)}}
}

func toJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Strings and numbers can always be written.
	}
	return string(text)
}
