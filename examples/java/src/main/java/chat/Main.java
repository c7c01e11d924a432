package chat;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.concurrent.TimeUnit;
import myxi.v1.GatewayGrpc;
import myxi.v1.PushEventRequest;

/** Serves the chat over gRPC, and pushes for it. */
public final class Main {
  private static final int PUSH_TIMEOUT_S = 10; // The gateway answers within 5 s.
  private static final int GRACE_S = 10; // For what is under way at a stop.
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  public static void main(String[] args) throws Exception {
    Chat.Push push = pushTo(variable("MYXI_GATEWAY", "127.0.0.1:5006"), variable("MYXI_GRPC_TOKEN", ""));
    var builder = listeningAt(variable("LISTEN", "127.0.0.1:50051")).addService(new Chat(push));
    String token = variable("MYXI_ACTION_HANDLER_TOKEN", "");
    if (!token.isEmpty()) {
      builder.intercept(new OnlyWithToken(token));
    }
    Server server = builder.build().start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(server)));
    server.awaitTermination();
  }

  private static String variable(String name, String otherwise) {
    return System.getenv().getOrDefault(name, otherwise);
  }

  private static NettyServerBuilder listeningAt(String address) throws IOException {
    if (address.startsWith("unix:")) {
      Path path = Path.of(address.substring("unix:".length()));
      Files.deleteIfExists(path); // Who was killed has left it.
      return NettyServerBuilder.forAddress(new DomainSocketAddress(path.toFile()))
          .channelType(EpollServerDomainSocketChannel.class)
          .bossEventLoopGroup(new EpollEventLoopGroup(1))
          .workerEventLoopGroup(new EpollEventLoopGroup());
    }
    var parsed = URI.create("tcp://" + address);
    return NettyServerBuilder.forAddress(new InetSocketAddress(parsed.getHost(), parsed.getPort()));
  }

  private static Chat.Push pushTo(String address, String token) {
    var metadata = new Metadata();
    if (!token.isEmpty()) {
      metadata.put(AUTHORIZATION, "Bearer " + token);
    }
    var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
        .intercept(MetadataUtils.newAttachHeadersInterceptor(metadata)).build();
    var gateway = GatewayGrpc.newBlockingStub(channel);
    return (room, event, payload) -> {
      var request = PushEventRequest.newBuilder()
          .setExchange("rooms").setRoutingKey(room).setEvent(event).setPayload(payload);
      gateway.withDeadlineAfter(PUSH_TIMEOUT_S, TimeUnit.SECONDS).pushEvent(request.build());
    };
  }

  private static void stop(Server server) {
    try {
      if (!server.shutdown().awaitTermination(GRACE_S, TimeUnit.SECONDS)) {
        server.shutdownNow();
      }
    } catch (InterruptedException e) {
      server.shutdownNow();
    }
  }

  /** Whoever can call this service speaks in the name of any user. */
  private record OnlyWithToken(String token) implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata metadata, ServerCallHandler<Q, A> next) {
      String given = String.valueOf(metadata.get(AUTHORIZATION));
      if (MessageDigest.isEqual(given.getBytes(UTF_8), ("Bearer " + token).getBytes(UTF_8))) {
        return next.startCall(call, metadata);
      }
      call.close(Status.UNAUTHENTICATED.withDescription("wrong token"), new Metadata());
      return new ServerCall.Listener<>() {};
    }
  }
}
