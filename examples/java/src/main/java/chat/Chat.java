package chat;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.StreamObserver;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import myxi.v1.*;

/** The chat of ../README.md: what myxi asks about every client, answered. It keeps nothing itself. */
public final class Chat extends ActionHandlerGrpc.ActionHandlerImplBase {
  private static final Map<String, String> USERS = Map.of("adam-secret", "adam", "eve-secret", "eve");
  private static final int MOST_DICE = 1_000_000;
  private static final Gson GSON = new Gson();

  /** Pushes an event to whoever is in a room; throws, but no status, where the gateway does not take it. */
  public interface Push {
    void event(String room, String event, Map<String, ?> payload);
  }

  private final Push push;

  public Chat(Push push) {
    this.push = push;
  }

  /** A status tells the client why not; what else is thrown is logged by gRPC, and answered UNKNOWN. */
  private static <T> void answer(StreamObserver<T> observer, Supplier<T> work) {
    try {
      observer.onNext(work.get());
      observer.onCompleted();
    } catch (StatusRuntimeException refused) {
      observer.onError(refused);
    }
  }

  private static StatusRuntimeException refused(Status status, String why) {
    return status.withDescription(why).asRuntimeException();
  }

  @Override
  public void handleAction(HandleActionRequest request, StreamObserver<HandleActionResponse> observer) {
    answer(observer, () -> handle(request).build());
  }

  private HandleActionResponse.Builder handle(HandleActionRequest request) {
    JsonElement payload = JsonParser.parseString(request.getPayload());
    if (request.getAction().equals("Authenticate")) {
      return authenticate(text(payload, "token"));
    }
    String user = userOf(request.getSession());
    if (user == null) {
      throw refused(Status.UNAUTHENTICATED, "who are you?");
    }
    return switch (request.getAction()) {
      case "Join" -> join(user, text(payload, "room"));
      case "Say" -> {
        int said = Integer.parseInt(request.getSession().getDataOrDefault("said", "0"));
        yield say(user, text(payload, "room"), text(payload, "text"), said + 1);
      }
      case "Roll" -> roll(number(payload, "dice", MOST_DICE));
      default -> throw refused(Status.UNIMPLEMENTED, "no such action");
    };
  }

  private HandleActionResponse.Builder authenticate(String token) {
    String user = USERS.get(token);
    if (user == null) {
      String details = GSON.toJson(Map.of("message", "nobody has this token"));
      var error = ActionError.newBuilder().setCode("InvalidToken").setDetails(details);
      return HandleActionResponse.newBuilder().setError(error);
    }
    var auth = Map.of("user", user);
    return answered("Authenticated", auth)
        .setSessionUpdate(SessionUpdate.newBuilder().setSetAuth(GSON.toJson(auth)));
  }

  private HandleActionResponse.Builder join(String user, String room) {
    mustEnter(user, room);
    return answered("Joined", Map.of("room", room))
        .addSubscribe(Topic.newBuilder().setExchange("rooms").setRoutingKey(room))
        .setSessionUpdate(SessionUpdate.newBuilder().putSetData("room", GSON.toJson(room)));
  }

  private HandleActionResponse.Builder say(String user, String room, String text, int number) {
    mustEnter(user, room);
    push.event(room, "Said", Map.of("user", user, "text", text));
    return answered("Sent", Map.of("number", number))
        .setSessionUpdate(SessionUpdate.newBuilder().putSetData("said", String.valueOf(number)));
  }

  private HandleActionResponse.Builder roll(int count) {
    return answered("Rolled", Map.of("dice", ThreadLocalRandom.current().ints(count, 1, 7).toArray()));
  }

  @Override
  public void checkSubscriptions(
      CheckSubscriptionsRequest request, StreamObserver<CheckSubscriptionsResponse> observer) {
    String user = userOf(request.getSession());
    var decisions = request.getTopicsList().stream().map(topic -> decide(user, topic)).toList();
    answer(observer, () -> CheckSubscriptionsResponse.newBuilder().addAllDecisions(decisions).build());
  }

  private static Decision decide(String user, Topic topic) {
    if (!topic.getExchange().equals("rooms")) {
      return Decision.DECISION_UNKNOWN_EXCHANGE;
    }
    boolean allowed = user != null && mayEnter(user, topic.getRoutingKey());
    return allowed ? Decision.DECISION_ALLOW : Decision.DECISION_DENY;
  }

  @Override
  public void sessionOpened(SessionOpenedRequest request, StreamObserver<SessionOpenedResponse> observer) {
    var response = SessionOpenedResponse.newBuilder();
    if (request.getSession().getQuery().equals("version=0")) {
      var refusal = Disconnect.newBuilder().setCode(4500).setReason("this version is too old");
      response.setDecision(SessionDecision.SESSION_DECISION_REFUSE).setRefusal(refusal);
    } else {
      var greeting = event("Greeting", Map.of("text", "Who are you?"));
      response.setDecision(SessionDecision.SESSION_DECISION_ACCEPT).addEvents(greeting);
    }
    answer(observer, response::build);
  }

  @Override
  public void sessionClosed(SessionClosedRequest request, StreamObserver<SessionClosedResponse> observer) {
    Session session = request.getSession();
    if (session.containsData("room")) {
      String room = GSON.fromJson(session.getDataOrThrow("room"), String.class);
      push.event(room, "Left", Map.of("user", userOf(session)));
    }
    answer(observer, SessionClosedResponse::getDefaultInstance);
  }

  private static String userOf(Session session) {
    return session.hasAuth() ? GSON.fromJson(session.getAuth(), JsonObject.class).get("user").getAsString() : null;
  }

  private static boolean mayEnter(String user, String room) {
    return !room.equals("staff") || user.equals("adam");
  }

  private static void mustEnter(String user, String room) {
    // What is no routing key is no room.
    if (room.getBytes(UTF_8).length > 255 || room.chars().anyMatch(Character::isISOControl)) {
      throw refused(Status.INVALID_ARGUMENT, "\"room\" must have at most 255 bytes, and no control characters");
    }
    if (!mayEnter(user, room)) {
      throw refused(Status.PERMISSION_DENIED, "not your room");
    }
  }

  private static String text(JsonElement payload, String name) {
    if (payload instanceof JsonObject object
        && object.get(name) instanceof JsonPrimitive value && value.isString()) {
      return value.getAsString();
    }
    throw refused(Status.INVALID_ARGUMENT, '"' + name + "\" must be a string");
  }

  private static int number(JsonElement payload, String name, int most) {
    if (payload instanceof JsonObject object
        && object.get(name) instanceof JsonPrimitive value && value.isNumber()) {
      double number = value.getAsDouble();
      if (number == Math.rint(number) && number >= 1 && number <= most) {
        return (int) number;
      }
    }
    throw refused(Status.INVALID_ARGUMENT, '"' + name + "\" must be a number from 1 to " + most);
  }

  private static Event event(String name, Map<String, ?> payload) {
    return Event.newBuilder().setEvent(name).setPayload(GSON.toJson(payload)).build();
  }

  private static HandleActionResponse.Builder answered(String name, Map<String, ?> payload) {
    return HandleActionResponse.newBuilder().addEvents(event(name, payload));
  }
}
