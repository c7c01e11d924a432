// The chat of ../README.md on grpc-go.
package main

//go:generate protoc -I ../../proto --go_out=myxiv1 --go_opt=module=myxi/v1 --go-grpc_out=myxiv1 --go-grpc_opt=module=myxi/v1 myxi/v1/action_handler.proto myxi/v1/gateway.proto

import (
	"cmp"
	"context"
	"crypto/subtle"
	"log"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "myxi/chat/myxiv1"
)

// For what is under way at a stop.
const grace = 10 * time.Second

func main() {
	gateway, err := grpc.NewClient(
		cmp.Or(os.Getenv("MYXI_GATEWAY"), "127.0.0.1:5006"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(logged, onlyWith(os.Getenv("MYXI_ACTION_HANDLER_TOKEN"))))
	pb.RegisterActionHandlerServer(server, chat{gateway: pb.NewGatewayClient(gateway), token: os.Getenv("MYXI_GRPC_TOKEN")})
	network, address := "tcp", cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:50051")
	if path, unix := strings.CutPrefix(address, "unix:"); unix {
		network, address = "unix", path
		os.Remove(path) // Who was killed has left it.
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() {
		<-ctx.Done()
		stop() // A second signal ends it at once.
		// GracefulStop waits for every handler, however long.
		time.AfterFunc(grace, func() { log.Fatal("calls are still under way") })
		server.GracefulStop()
	}()
	// It returns at the end of a stop that is under way.
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// onlyWith refuses who does not have the token: whoever can call this service speaks in the name
// of any user.
func onlyWith(token string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		given := strings.Join(metadata.ValueFromIncomingContext(ctx, "authorization"), ",")
		if token != "" && subtle.ConstantTimeCompare([]byte(given), []byte("Bearer "+token)) != 1 {
			return nil, status.Error(codes.Unauthenticated, "wrong token")
		}
		return next(ctx, request)
	}
}

// logged tells of what went wrong, and keeps a panic from ending the process, with everybody's calls.
func logged(ctx context.Context, request any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (answer any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Printf("%s: %v\n%s", call.FullMethod, cause, debug.Stack())
			err = status.Error(codes.Internal, "see the log")
		}
	}()
	answer, err = next(ctx, request)
	if status.Code(err) == codes.Unknown {
		log.Printf("%s: %v", call.FullMethod, err)
	}
	return answer, err
}
