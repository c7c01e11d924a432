// The handler of ../README.md in Go: grpc-go's server as it comes.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"myxi/test-handler/myxiv1"
)

const grace = 100 * time.Millisecond

var (
	printing sync.Mutex
	running  sync.WaitGroup
	goOn     = make(chan struct{})
)

func say(what string, about any) {
	printing.Lock()
	defer printing.Unlock()
	fmt.Println(what, about)
}

type handler struct {
	myxiv1.UnimplementedActionHandlerServer
}

func (handler) HandleAction(_ context.Context, request *myxiv1.HandleActionRequest) (*myxiv1.HandleActionResponse, error) {
	running.Add(1)
	defer running.Done()
	say("began", request.Payload)
	size := 0
	switch request.Action {
	case "Hold":
		<-goOn
	case "Wait":
		seconds, _ := strconv.ParseFloat(request.Payload, 64)
		time.Sleep(time.Duration(seconds * float64(time.Second)))
	case "Throw":
		return nil, errors.New("thrown by the handler")
	case "Large":
		size = 4096
	}
	say("finished", request.Payload)
	event := &myxiv1.Event{Event: "Answer", Payload: strconv.Quote(strings.Repeat("x", size))}
	return &myxiv1.HandleActionResponse{Events: []*myxiv1.Event{event}}, nil
}

func (handler) CheckSubscriptions(_ context.Context, request *myxiv1.CheckSubscriptionsRequest) (*myxiv1.CheckSubscriptionsResponse, error) {
	allowed := myxiv1.Decision_DECISION_ALLOW
	if request.Session.Id == "" {
		allowed = myxiv1.Decision_DECISION_DENY
	}
	response := &myxiv1.CheckSubscriptionsResponse{}
	for range request.Topics {
		response.Decisions = append(response.Decisions, allowed)
	}
	return response, nil
}

func refuseOthers(token string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		given := metadata.ValueFromIncomingContext(ctx, "authorization")
		if len(given) != 1 || given[0] != "Bearer "+token {
			return nil, status.Error(codes.Unauthenticated, "wrong token")
		}
		return next(ctx, request)
	}
}

func compress(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := grpc.SetSendCompressor(ctx, "gzip"); err != nil {
		return nil, err
	}
	return next(ctx, request)
}

func options() (options []grpc.ServerOption) {
	for _, argument := range os.Args[1:] {
		name, value, _ := strings.Cut(argument, "=")
		number, _ := strconv.Atoi(value)
		switch name {
		case "max-receive":
			options = append(options, grpc.MaxRecvMsgSize(number))
		case "max-send":
			options = append(options, grpc.MaxSendMsgSize(number))
		case "gzip":
			options = append(options, grpc.ChainUnaryInterceptor(compress))
		case "token":
			options = append(options, grpc.ChainUnaryInterceptor(refuseOthers(value)))
		default:
			panic("there is no option " + argument)
		}
	}
	return options
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(options()...)
	myxiv1.RegisterActionHandlerServer(server, handler{})
	say("port", listener.Addr().(*net.TCPAddr).Port)
	go server.Serve(listener)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "go on"; {
		if lines.Text() == "stop" {
			time.AfterFunc(grace, server.Stop)
			go server.GracefulStop()
		}
	}
	close(goOn)
	running.Wait()
}
