package chat;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.Gson;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
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
    var gateway = channelTo(variable("MYXI_GATEWAY", "127.0.0.1:5006"), variable("MYXI_GRPC_TOKEN", ""));
    var chat = new Chat(pushTo(GatewayGrpc.newBlockingStub(gateway)));
    var builder = listeningAt(variable("LISTEN", "127.0.0.1:50051")).addService(chat);
    String token = variable("MYXI_ACTION_HANDLER_TOKEN", "");
    if (!token.isEmpty()) {
      builder.intercept(new OnlyWithToken(token));
    }
    Server server = builder.build().start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(server, gateway)));
    server.awaitTermination();
  }

  private static String variable(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
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

  private static ManagedChannel channelTo(String address, String token) {
    var metadata = new Metadata();
    if (!token.isEmpty()) {
      metadata.put(AUTHORIZATION, "Bearer " + token);
    }
    return Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
        .intercept(MetadataUtils.newAttachHeadersInterceptor(metadata)).build();
  }

  private static Chat.Push pushTo(GatewayGrpc.GatewayBlockingStub gateway) {
    return (room, event, payload) -> {
      var request = PushEventRequest.newBuilder()
          .setExchange("rooms").setRoutingKey(room).setEvent(event).setPayload(new Gson().toJson(payload));
      try {
        gateway.withDeadlineAfter(PUSH_TIMEOUT_S, TimeUnit.SECONDS).pushEvent(request.build());
      } catch (StatusRuntimeException e) {
        // As it is, it would be passed on as this handler's own answer.
        throw new IllegalStateException(event + " was not pushed to " + room, e);
      }
    };
  }

  private static void stop(Server server, ManagedChannel gateway) {
    try {
      if (!server.shutdown().awaitTermination(GRACE_S, TimeUnit.SECONDS)) {
        server.shutdownNow();
      }
    } catch (InterruptedException e) {
      server.shutdownNow();
    }
    gateway.shutdownNow(); // What was finished may have pushed until now.
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
