# The chat without a gateway: its calls are made directly, and what it pushes is caught.

require 'minitest/autorun'
require_relative '../chat'

class ChatTest < Minitest::Test
  V1 = Myxi::V1

  # In the gateway's place.
  class Caught
    attr_reader :pushed

    def push_event(request, **)
      (@pushed ||= []) << [request.routing_key, request.event, JSON.parse(request.payload)]
    end
  end

  def setup
    @gateway = Caught.new
    @chat = Chat.new(@gateway)
  end

  def act(action, payload, session = V1::Session.new)
    request = V1::HandleActionRequest.new(session: session, action: action, payload: payload.to_json)
    @chat.handle_action(request, nil)
  end

  def test_a_token_is_worth_a_user
    answer = act('Authenticate', { token: 'adam-secret' })
    assert_equal({ 'user' => 'adam' }, JSON.parse(answer.session_update.set_auth))
    assert_equal 'InvalidToken', act('Authenticate', { token: 'x' }).error.code
  end

  def test_what_is_said_is_pushed_and_counted
    adam = V1::Session.new(auth: '{"user":"adam"}', data: { 'said' => '4' })
    answer = act('Say', { room: 'lobby', text: 'hi' }, adam)
    assert_equal [['lobby', 'Said', { 'user' => 'adam', 'text' => 'hi' }]], @gateway.pushed
    assert_equal '5', answer.session_update.set_data['said']
  end

  def test_who_leaves_is_missed
    adam = V1::Session.new(auth: '{"user":"adam"}', data: { 'room' => '"lobby"' })
    @chat.session_closed(V1::SessionClosedRequest.new(session: adam), nil)
    assert_equal [['lobby', 'Left', { 'user' => 'adam' }]], @gateway.pushed
  end

  def test_eve_is_not_staff
    eve = V1::Session.new(auth: '{"user":"eve"}')
    assert_raises(GRPC::PermissionDenied) { act('Join', { room: 'staff' }, eve) }
    assert_raises(GRPC::InvalidArgument) { act('Join', { room: 'x' * 256 }, eve) }
    topics = %w[lobby staff].map { |room| V1::Topic.new(exchange: 'rooms', routing_key: room) }
    request = V1::CheckSubscriptionsRequest.new(session: eve, topics: topics)
    assert_equal %i[DECISION_ALLOW DECISION_DENY], @chat.check_subscriptions(request, nil).decisions.to_a
  end
end
