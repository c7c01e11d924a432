import static io.grpc.Metadata.ASCII_STRING_MARSHALLER;

import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;
import myxi.v1.ActionHandlerGrpc.ActionHandlerImplBase;
import myxi.v1.CheckSubscriptionsRequest;
import myxi.v1.CheckSubscriptionsResponse;
import myxi.v1.Decision;
import myxi.v1.Event;
import myxi.v1.HandleActionRequest;
import myxi.v1.HandleActionResponse;

/** The handler of ../README.md in Java: grpc-java's Netty server as it comes. */
public final class Handler extends ActionHandlerImplBase {
  private static final long GRACE_MS = 100;
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", ASCII_STRING_MARSHALLER);

  private final CountDownLatch goOn = new CountDownLatch(1);
  private final Phaser running = new Phaser(1);

  private static synchronized void say(String what, Object about) {
    System.out.println(what + " " + about);
  }

  @Override
  public void handleAction(
      HandleActionRequest request, StreamObserver<HandleActionResponse> observer) {
    running.register();
    try {
      say("began", request.getPayload());
      switch (request.getAction()) {
        case "Hold" -> goOn.await();
        case "Wait" -> Thread.sleep((long) (1000 * Double.parseDouble(request.getPayload())));
        case "Throw" -> throw new IllegalStateException("thrown by the handler");
        default -> {}
      }
      say("finished", request.getPayload());
      String text = "x".repeat(request.getAction().equals("Large") ? 4096 : 0);
      Event event = Event.newBuilder().setEvent("Answer").setPayload('"' + text + '"').build();
      observer.onNext(HandleActionResponse.newBuilder().addEvents(event).build());
      observer.onCompleted();
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    } finally {
      running.arriveAndDeregister();
    }
  }

  @Override
  public void checkSubscriptions(
      CheckSubscriptionsRequest request, StreamObserver<CheckSubscriptionsResponse> observer) {
    boolean known = !request.getSession().getId().isEmpty();
    Decision allowed = known ? Decision.DECISION_ALLOW : Decision.DECISION_DENY;
    var response = CheckSubscriptionsResponse.newBuilder();
    request.getTopicsList().forEach(topic -> response.addDecisions(allowed));
    observer.onNext(response.build());
    observer.onCompleted();
  }

  private static final class Token implements ServerInterceptor {
    private final String expected;

    Token(String token) {
      expected = "Bearer " + token;
    }

    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(
        ServerCall<A, B> call, Metadata metadata, ServerCallHandler<A, B> next) {
      if (expected.equals(metadata.get(AUTHORIZATION))) {
        return next.startCall(call, metadata);
      }
      call.close(Status.UNAUTHENTICATED.withDescription("wrong token"), new Metadata());
      return new ServerCall.Listener<>() {};
    }
  }

  private static final class Gzip implements ServerInterceptor {
    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(
        ServerCall<A, B> call, Metadata metadata, ServerCallHandler<A, B> next) {
      call.setCompression("gzip");
      return next.startCall(call, metadata);
    }
  }

  public static void main(String[] options) throws Exception {
    var handler = new Handler();
    var builder = NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0));
    for (String option : options) {
      String value = option.substring(option.indexOf('=') + 1);
      switch (option.split("=")[0]) {
        case "max-receive" -> builder.maxInboundMessageSize(Integer.parseInt(value));
        case "gzip" -> builder.intercept(new Gzip());
        case "token" -> builder.intercept(new Token(value));
        default -> throw new IllegalArgumentException("there is no option " + option);
      }
    }
    var server = builder.addService(handler).build().start();
    say("port", server.getPort());
    var input = new BufferedReader(new InputStreamReader(System.in));
    String line;
    while ((line = input.readLine()) != null && !line.equals("go on")) {
      if (line.equals("stop")) {
        server.shutdown();
        if (!server.awaitTermination(GRACE_MS, TimeUnit.MILLISECONDS)) {
          server.shutdownNow();
        }
      }
    }
    handler.goOn.countDown();
    server.shutdown();
    handler.running.arriveAndAwaitAdvance();
    System.exit(0);
  }
}
