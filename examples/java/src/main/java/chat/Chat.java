package chat;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.grpc.Status;
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

  /** Pushes an event to whoever is in a room, and throws where the gateway does not take it. */
  public interface Push {
    void event(String room, String event, String payload);
  }

  /** A status and its message, which tell the client why not. */
  private static final class Refused extends RuntimeException {
    final Status status;

    Refused(Status status, String why) {
      super(why);
      this.status = status.withDescription(why);
    }
  }

  private final Push push;

  public Chat(Push push) {
    this.push = push;
  }

  /** What is not refused but thrown is logged by gRPC, and answered UNKNOWN. */
  private static <T> void answer(StreamObserver<T> observer, Supplier<T> work) {
    try {
      observer.onNext(work.get());
      observer.onCompleted();
    } catch (Refused refused) {
      observer.onError(refused.status.asRuntimeException());
    }
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
      throw new Refused(Status.UNAUTHENTICATED, "who are you?");
    }
    return switch (request.getAction()) {
      case "Join" -> join(user, text(payload, "room"));
      case "Say" -> {
        int said = Integer.parseInt(request.getSession().getDataOrDefault("said", "0"));
        yield say(user, text(payload, "room"), text(payload, "text"), said + 1);
      }
      case "Roll" -> roll(number(payload, "dice", MOST_DICE));
      default -> throw new Refused(Status.UNIMPLEMENTED, "no such action");
    };
  }

  private HandleActionResponse.Builder authenticate(String token) {
    String user = USERS.get(token);
    if (user == null) {
      String details = GSON.toJson(Map.of("message", "nobody has this token"));
      var error = ActionError.newBuilder().setCode("InvalidToken").setDetails(details);
      return HandleActionResponse.newBuilder().setError(error);
    }
    String auth = GSON.toJson(Map.of("user", user));
    return answered("Authenticated", auth).setSessionUpdate(SessionUpdate.newBuilder().setSetAuth(auth));
  }

  private HandleActionResponse.Builder join(String user, String room) {
    mustEnter(user, room);
    return answered("Joined", GSON.toJson(Map.of("room", room)))
        .addSubscribe(Topic.newBuilder().setExchange("rooms").setRoutingKey(room))
        .setSessionUpdate(SessionUpdate.newBuilder().putSetData("room", GSON.toJson(room)));
  }

  private HandleActionResponse.Builder say(String user, String room, String text, int number) {
    mustEnter(user, room);
    push.event(room, "Said", GSON.toJson(Map.of("user", user, "text", text)));
    return answered("Sent", GSON.toJson(Map.of("number", number)))
        .setSessionUpdate(SessionUpdate.newBuilder().putSetData("said", String.valueOf(number)));
  }

  private HandleActionResponse.Builder roll(int count) {
    int[] dice = ThreadLocalRandom.current().ints(count, 1, 7).toArray();
    return answered("Rolled", GSON.toJson(Map.of("dice", dice)));
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
      String greeting = GSON.toJson(Map.of("text", "Who are you?"));
      response.setDecision(SessionDecision.SESSION_DECISION_ACCEPT).addEvents(event("Greeting", greeting));
    }
    answer(observer, response::build);
  }

  @Override
  public void sessionClosed(SessionClosedRequest request, StreamObserver<SessionClosedResponse> observer) {
    Session session = request.getSession();
    if (session.containsData("room")) {
      String room = GSON.fromJson(session.getDataOrThrow("room"), String.class);
      push.event(room, "Left", GSON.toJson(Map.of("user", userOf(session))));
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
    if (!mayEnter(user, room)) {
      throw new Refused(Status.PERMISSION_DENIED, "not your room");
    }
  }

  private static String text(JsonElement payload, String name) {
    if (field(payload, name) instanceof JsonPrimitive value && value.isString()) {
      return value.getAsString();
    }
    throw new Refused(Status.INVALID_ARGUMENT, '"' + name + "\" must be a string");
  }

  private static int number(JsonElement payload, String name, int most) {
    if (field(payload, name) instanceof JsonPrimitive value && value.isNumber()) {
      double number = value.getAsDouble();
      if (number == Math.rint(number) && number >= 1 && number <= most) {
        return (int) number;
      }
    }
    throw new Refused(Status.INVALID_ARGUMENT, '"' + name + "\" must be a number from 1 to " + most);
  }

  private static JsonElement field(JsonElement payload, String name) {
    return payload instanceof JsonObject object ? object.get(name) : null;
  }

  private static Event event(String name, String payload) {
    return Event.newBuilder().setEvent(name).setPayload(payload).build();
  }

  private static HandleActionResponse.Builder answered(String name, String payload) {
    return HandleActionResponse.newBuilder().addEvents(event(name, payload));
  }
}
