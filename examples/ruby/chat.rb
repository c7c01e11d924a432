# The chat of ../README.md: what myxi asks about every client, answered. It keeps nothing itself.

require 'json'
require 'grpc'
require 'myxi/v1/action_handler_services_pb'
require 'myxi/v1/gateway_services_pb'

class Chat < Myxi::V1::ActionHandler::Service
  V1 = Myxi::V1
  USERS = { 'adam-secret' => 'adam', 'eve-secret' => 'eve' }.freeze
  MOST_DICE = 1_000_000

  # `gateway` is a stub of the Gateway service, `metadata` what it wants to see.
  def initialize(gateway, metadata = {})
    super()
    @gateway = gateway
    @metadata = metadata
  end

  def handle_action(request, _call)
    payload = JSON.parse(request.payload)
    return authenticate(text(payload, 'token')) if request.action == 'Authenticate'

    user = user_of(request.session)
    raise GRPC::Unauthenticated, 'who are you?' unless user

    case request.action
    when 'Join' then join(room_for(user, payload))
    when 'Say'
      said = request.session.data['said'].to_i
      say(user, room_for(user, payload), text(payload, 'text'), said + 1)
    when 'Roll' then roll(number(payload, 'dice', MOST_DICE))
    else raise GRPC::Unimplemented, 'no such action'
    end
  end

  def check_subscriptions(request, _call)
    user = user_of(request.session)
    decisions = request.topics.map do |topic|
      next :DECISION_UNKNOWN_EXCHANGE unless topic.exchange == 'rooms'

      user && may_enter?(user, topic.routing_key) ? :DECISION_ALLOW : :DECISION_DENY
    end
    V1::CheckSubscriptionsResponse.new(decisions: decisions)
  end

  def session_opened(request, _call)
    if request.session.query == 'version=0'
      refusal = V1::Disconnect.new(code: 4500, reason: 'this version is too old')
      return V1::SessionOpenedResponse.new(decision: :SESSION_DECISION_REFUSE, refusal: refusal)
    end
    events = [event('Greeting', text: 'Who are you?')]
    V1::SessionOpenedResponse.new(decision: :SESSION_DECISION_ACCEPT, events: events)
  end

  def session_closed(request, _call)
    room = request.session.data['room']
    push(JSON.parse(room), event('Left', user: user_of(request.session))) if room
    V1::SessionClosedResponse.new
  end

  private

  def authenticate(token)
    user = USERS[token]
    unless user
      details = { message: 'nobody has this token' }.to_json
      return V1::HandleActionResponse.new(error: V1::ActionError.new(code: 'InvalidToken', details: details))
    end
    answer(event('Authenticated', user: user), { set_auth: { user: user }.to_json })
  end

  def join(room)
    topic = V1::Topic.new(exchange: 'rooms', routing_key: room)
    answer(event('Joined', room: room), { set_data: { 'room' => room.to_json } }, subscribe: [topic])
  end

  def say(user, room, text, number)
    push(room, event('Said', user: user, text: text))
    answer(event('Sent', number: number), { set_data: { 'said' => number.to_json } })
  end

  def roll(count)
    answer(event('Rolled', dice: Array.new(count) { rand(1..6) }))
  end

  def answer(event, update = {}, **rest)
    V1::HandleActionResponse.new(events: [event], session_update: V1::SessionUpdate.new(update), **rest)
  end

  # Answers when the gateway has the event.
  def push(room, event)
    request = V1::PushEventRequest.new(exchange: 'rooms', routing_key: room, event: event.event, payload: event.payload)
    @gateway.push_event(request, metadata: @metadata)
  rescue GRPC::BadStatus => e
    # As it is, it would be passed on as this handler's own answer.
    raise "the gateway did not take #{event.event} for #{room}: #{e.message}"
  end

  def event(name, payload)
    V1::Event.new(event: name, payload: payload.to_json)
  end

  def user_of(session)
    JSON.parse(session.auth)['user'] if session.has_auth?
  end

  def may_enter?(user, room)
    room != 'staff' || user == 'adam'
  end

  def room_for(user, payload)
    room = text(payload, 'room')
    # What is no routing key is no room.
    if room.bytesize > 255 || room.match?(/[[:cntrl:]]/)
      raise GRPC::InvalidArgument, '"room" must have at most 255 bytes, and no control characters'
    end

    may_enter?(user, room) ? room : raise(GRPC::PermissionDenied, 'not your room')
  end

  def text(payload, name)
    value = payload[name] if payload.is_a?(Hash)
    value.is_a?(String) ? value : raise(GRPC::InvalidArgument, "\"#{name}\" must be a string")
  end

  def number(payload, name, most)
    value = payload[name] if payload.is_a?(Hash)
    return value if value.is_a?(Integer) && value.between?(1, most)

    raise GRPC::InvalidArgument, "\"#{name}\" must be a number from 1 to #{most}"
  end
end
