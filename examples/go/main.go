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
		cmp.Or(os.Getenv("MYXI_GATEWAY"), "127.0.0.1:5006"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(showToken(os.Getenv("MYXI_GRPC_TOKEN"))))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(recovered, onlyWith(os.Getenv("MYXI_ACTION_HANDLER_TOKEN"))))
	pb.RegisterActionHandlerServer(server, chat{gateway: pb.NewGatewayClient(gateway)})
	listener, err := listen(cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:50051"))
	if err != nil {
		log.Fatal(err)
	}
	stopped, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Fatal(err)
		}
	}()
	<-stopped.Done()
	time.AfterFunc(grace, server.Stop)
	server.GracefulStop()
}

func listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return net.Listen("tcp", address)
	}
	os.Remove(path) // Who was killed has left it.
	return net.Listen("unix", path)
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

// recovered keeps a panic from ending the process, with everybody's calls.
func recovered(ctx context.Context, request any, call *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Printf("%s: %v\n%s", call.FullMethod, cause, debug.Stack())
			err = status.Error(codes.Internal, "see the log")
		}
	}()
	return next(ctx, request)
}

func showToken(token string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		return call(ctx, method, request, reply, cc, options...)
	}
}
