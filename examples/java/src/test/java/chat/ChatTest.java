package chat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import myxi.v1.*;
import org.junit.jupiter.api.Test;

/** The chat without a gateway: its calls are made directly, and what it pushes is caught. */
class ChatTest {
  private final List<List<Object>> pushed = new ArrayList<>();
  private final Chat chat = new Chat((room, event, payload) -> pushed.add(List.of(room, event, payload)));

  /** What a call answers. */
  private static final class Caught<T> implements StreamObserver<T> {
    T answer;
    Status refusal;

    static <Q, A> Caught<A> of(BiConsumer<Q, StreamObserver<A>> call, Q request) {
      var caught = new Caught<A>();
      call.accept(request, caught);
      return caught;
    }

    @Override
    public void onNext(T answer) {
      this.answer = answer;
    }

    @Override
    public void onError(Throwable error) {
      refusal = Status.fromThrowable(error);
    }

    @Override
    public void onCompleted() {}
  }

  private Caught<HandleActionResponse> act(Session.Builder session, String action, String payload) {
    var request = HandleActionRequest.newBuilder().setSession(session).setAction(action).setPayload(payload);
    return Caught.of(chat::handleAction, request.build());
  }

  private static Session.Builder sessionOf(String user) {
    return Session.newBuilder().setAuth("{\"user\":\"" + user + "\"}");
  }

  @Test
  void aTokenIsWorthAUser() {
    var known = act(Session.newBuilder(), "Authenticate", "{\"token\":\"adam-secret\"}").answer;
    assertEquals("{\"user\":\"adam\"}", known.getSessionUpdate().getSetAuth());
    var unknown = act(Session.newBuilder(), "Authenticate", "{\"token\":\"x\"}").answer;
    assertEquals("InvalidToken", unknown.getError().getCode());
  }

  @Test
  void whatIsSaidIsPushedAndCounted() {
    var adam = sessionOf("adam").putData("said", "4");
    var said = act(adam, "Say", "{\"room\":\"lobby\",\"text\":\"hi\"}");
    assertNull(said.refusal);
    assertEquals("5", said.answer.getSessionUpdate().getSetDataOrThrow("said"));
    assertEquals(List.of(List.of("lobby", "Said", Map.of("user", "adam", "text", "hi"))), pushed);
  }

  @Test
  void whoLeavesIsMissed() {
    var request = SessionClosedRequest.newBuilder().setSession(sessionOf("adam").putData("room", "\"lobby\""));
    assertNull(Caught.of(chat::sessionClosed, request.build()).refusal);
    assertEquals(List.of(List.of("lobby", "Left", Map.of("user", "adam"))), pushed);
  }

  @Test
  void eveIsNotStaff() {
    var staff = act(sessionOf("eve"), "Join", "{\"room\":\"staff\"}").refusal;
    assertEquals(Status.Code.PERMISSION_DENIED, staff.getCode());
    var tooLong = act(sessionOf("eve"), "Join", "{\"room\":\"" + "x".repeat(256) + "\"}").refusal;
    assertEquals(Status.Code.INVALID_ARGUMENT, tooLong.getCode());
    var request = CheckSubscriptionsRequest.newBuilder().setSession(sessionOf("eve"));
    for (String room : List.of("lobby", "staff")) {
      request.addTopics(Topic.newBuilder().setExchange("rooms").setRoutingKey(room));
    }
    var decisions = Caught.of(chat::checkSubscriptions, request.build()).answer.getDecisionsList();
    assertEquals(List.of(Decision.DECISION_ALLOW, Decision.DECISION_DENY), decisions);
  }
}
