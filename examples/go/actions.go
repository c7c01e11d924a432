// What the chat's actions do.

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "myxi/chat/myxiv1"
)

func authenticate(fields map[string]any) (*pb.HandleActionResponse, error) {
	token, err := text(fields, "token")
	if err != nil {
		return nil, err
	}
	user, known := users[token]
	if !known {
		details := toJSON(map[string]string{"message": "nobody has this token"})
		return &pb.HandleActionResponse{Error: &pb.ActionError{Code: "InvalidToken", Details: details}}, nil
	}
	auth := toJSON(map[string]string{"user": user})
	update := &pb.SessionUpdate{SetAuth: &auth}
	return &pb.HandleActionResponse{Events: events("Authenticated", auth), SessionUpdate: update}, nil
}

func join(user string, fields map[string]any) (*pb.HandleActionResponse, error) {
	room, err := roomFor(user, fields)
	if err != nil {
		return nil, err
	}
	return &pb.HandleActionResponse{
		Events:        events("Joined", toJSON(map[string]string{"room": room})),
		Subscribe:     []*pb.Topic{{Exchange: "rooms", RoutingKey: room}},
		SessionUpdate: &pb.SessionUpdate{SetData: map[string]string{"room": toJSON(room)}},
	}, nil
}

func (c chat) say(ctx context.Context, user string, session *pb.Session, fields map[string]any) (*pb.HandleActionResponse, error) {
	room, err := roomFor(user, fields)
	if err != nil {
		return nil, err
	}
	said, err := text(fields, "text")
	if err != nil {
		return nil, err
	}
	if err := c.push(ctx, room, "Said", map[string]string{"user": user, "text": said}); err != nil {
		return nil, err
	}
	number, _ := strconv.Atoi(session.GetData()["said"]) // 0 where there is none yet.
	number++
	update := &pb.SessionUpdate{SetData: map[string]string{"said": strconv.Itoa(number)}}
	return &pb.HandleActionResponse{Events: events("Sent", toJSON(map[string]int{"number": number})), SessionUpdate: update}, nil
}

func roll(fields map[string]any) (*pb.HandleActionResponse, error) {
	count, ok := fields["dice"].(float64)
	if !ok || count != math.Trunc(count) || count < 1 || count > mostDice {
		return nil, status.Errorf(codes.InvalidArgument, "\"dice\" must be a number from 1 to %d", mostDice)
	}
	dice := make([]int, int(count))
	for i := range dice {
		dice[i] = rand.IntN(6) + 1
	}
	return &pb.HandleActionResponse{Events: events("Rolled", toJSON(map[string][]int{"dice": dice}))}, nil
}

// push answers when the gateway has the event, within what is left of the call that it is made in.
func (c chat) push(ctx context.Context, room, event string, payload any) error {
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

func roomFor(user string, fields map[string]any) (string, error) {
	room, err := text(fields, "room")
	if err == nil && !mayEnter(user, room) {
		err = status.Error(codes.PermissionDenied, "not your room")
	}
	return room, err
}

func text(fields map[string]any, name string) (string, error) {
	value, ok := fields[name].(string)
	if !ok {
		return "", status.Errorf(codes.InvalidArgument, "%q must be a string", name)
	}
	return value, nil
}

func events(name, payload string) []*pb.Event {
	return []*pb.Event{{Event: name, Payload: payload}}
}

func toJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Strings and numbers can always be written.
	}
	return string(text)
}
